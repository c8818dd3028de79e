"""Settings of a workspace: the table [tool.contracts] in the `pyproject.toml` beside its `buf.yaml`.

    [tool.contracts]
    exempt-packages = ["google.rpc"]
    allowed-changes = ["SCOPE_ADDED acme.orders.v1.OrderService/GetOrder"]
    source-folders = "services/{service}"

Exempt packages are not checked, such as copies of other projects' contracts. Allowed changes are intended, although
they break callers. The Python code of each service is below its source folder: for acme.orders.v1, `services/orders`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE = "pyproject.toml"
LISTS = ("exempt-packages", "allowed-changes")
SOURCE_FOLDERS = "source-folders"


class SettingsError(Exception):
    """Malformed settings; the message names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one workspace; `allowed_changes` are ids with subjects. `source_folders` is a pattern, or empty."""

    exempt_packages: frozenset[str] = frozenset()
    allowed_changes: frozenset[str] = frozenset()
    source_folders: str = ""


def read_settings(workspace: Path) -> Settings:
    """Return the settings of a workspace, empty if it has none; raise SettingsError."""
    path = workspace / FILE
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}) if path.exists() else {}
    except ValueError as error:
        raise SettingsError(f"{FILE}: {error}.") from None
    table = tools.get("contracts", {})
    if not isinstance(table, dict) or not all(_is_valid(name, value) for name, value in table.items()):
        allowed = f"{' and '.join(LISTS)}, each a list of texts, and {SOURCE_FOLDERS}, a text"
        raise SettingsError(f"{FILE}: [tool.contracts] allows only {allowed}.")
    exempt_packages, allowed_changes = (frozenset(table.get(name, ())) for name in LISTS)
    return Settings(exempt_packages, allowed_changes, table.get(SOURCE_FOLDERS, ""))


def _is_valid(name: str, value: object) -> bool:
    if name == SOURCE_FOLDERS:
        return isinstance(value, str)
    return name in LISTS and isinstance(value, list) and all(isinstance(each, str) for each in value)
