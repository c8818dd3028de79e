"""Third-party protos, copied from installed packages to third_party/ so that buf needs no network."""

from __future__ import annotations

import shutil
from pathlib import Path

import google.rpc

from contracts.codegen.export_validate_proto import write_validate_proto

GOOGLE_PROTOS = ("code.proto",)


def main() -> None:
    """Rebuild third_party/ from the protovalidate and googleapis-common-protos packages."""
    root = Path("third_party")
    shutil.rmtree(root, ignore_errors=True)
    write_validate_proto(root / "protovalidate")
    google_rpc = root / "googleapis" / "google" / "rpc"
    google_rpc.mkdir(parents=True)
    for name in GOOGLE_PROTOS:
        shutil.copy(Path(google.rpc.__path__[0]) / name, google_rpc / name)


if __name__ == "__main__":
    main()
