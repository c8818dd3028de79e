"""protoc wrapper for `buf generate` that removes one wrong warning.

buf passes contracts with encoded options, so protoc does not see their use of solo60/common/v1/text.proto and reports
every import of that file as unused. `buf lint` finds imports that really are unused.
"""

from __future__ import annotations

import subprocess
import sys

WRONG_WARNING = "warning: Import solo60/common/v1/text.proto is unused."


def main() -> int:
    """Run protoc with this process's arguments, forward its other messages, and return its exit code."""
    command = [sys.executable, "-m", "grpc_tools.protoc", *sys.argv[1:]]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603 - arguments from buf
    sys.stderr.writelines(line for line in done.stderr.splitlines(keepends=True) if WRONG_WARNING not in line)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
