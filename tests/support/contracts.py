"""Generated contracts of this repository, found by their files, so that a new contract is tested too."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import solo60

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor


def our_files() -> list[FileDescriptor]:
    """Return the descriptor of every contract under gen/solo60, including contracts that are not registered."""
    names = [
        ".".join(("solo60", *path.relative_to(root).with_suffix("").parts))
        for root in solo60.__path__
        for path in sorted(Path(root).rglob("*_pb2.py"))
    ]
    return [importlib.import_module(name).DESCRIPTOR for name in names]


def our_services() -> list[ServiceDescriptor]:
    """Return every service in our contracts."""
    return [service for file in our_files() for service in file.services_by_name.values()]
