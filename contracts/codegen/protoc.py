"""protoc as `buf generate` calls it, without one wrong warning.

buf hands protoc contracts whose options are encoded already, so protoc does not see that they use the rules of
solo60/common/v1/text.proto, and calls every import of that file unused. `buf lint` finds imports that are.
"""

from __future__ import annotations

import subprocess
import sys

WRONG_WARNING = "warning: Import solo60/common/v1/text.proto is unused."


def main() -> int:
    """Run protoc with the arguments of this process, pass its other messages on, and return its exit code."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *sys.argv[1:]]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - arguments from buf
    sys.stderr.writelines(line for line in done.stderr.splitlines(keepends=True) if WRONG_WARNING not in line)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
