"""Python code of services: the folders where a workspace has it, and the uses of contracts in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.names import short_package
from contracts.settings import FILE, SOURCE_FOLDERS, read_settings
from contracts.workspace import WorkspaceError

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.image import Image
    from contracts.source.uses import Use

SERVICE = "{service}"


@dataclass(frozen=True, slots=True)
class Code:
    """Code in one folder. It implements all of `services`, such as the versions of one contract."""

    services: tuple[ServiceDescriptor, ...]
    uses: tuple[Use, ...]


def source_folders(workspace: Path, image: Image) -> dict[Path, tuple[ServiceDescriptor, ...]]:
    """Return the folders with Python code that `source-folders` names, with the examined services of each one.

    A service without Python code has no folder: it may be written later, or in another language. Raises WorkspaceError
    if no service has any, and SettingsError for malformed settings.
    """
    pattern = read_settings(workspace).source_folders
    folders: dict[Path, tuple[ServiceDescriptor, ...]] = {}
    for service in image.services() if pattern else ():
        name = short_package(service.file.package)
        folder = workspace / pattern.replace(SERVICE, name)
        if folder in folders or (name and any(folder.rglob("*.py"))):
            folders[folder] = (*folders.get(folder, ()), service)
    if pattern and not folders:
        hint = f'{SERVICE} is the last part of its package before the version, such as "orders" in acme.orders.v1'
        raise WorkspaceError(f'{FILE}: {SOURCE_FOLDERS}: no service has Python code in "{pattern}"; {hint}.')
    return folders
