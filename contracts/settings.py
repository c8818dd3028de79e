"""Settings of a workspace: the table [tool.contracts] in the `pyproject.toml` beside its `buf.yaml`.

    [tool.contracts]
    exempt-packages = ["google.rpc"]
    allowed-changes = ["SCOPE_ADDED acme.orders.v1.OrderService/GetOrder"]

Exempt packages are not checked, such as copies of other projects' contracts. Allowed changes are intended, although
they break callers.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE = "pyproject.toml"
NAMES = ("exempt-packages", "allowed-changes")


class SettingsError(Exception):
    """Malformed settings; the message names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one workspace; `allowed_changes` are ids with subjects."""

    exempt_packages: frozenset[str] = frozenset()
    allowed_changes: frozenset[str] = frozenset()


def read_settings(workspace: Path) -> Settings:
    """Return the settings of a workspace, empty if it has none; raise SettingsError."""
    path = workspace / FILE
    try:
        tools = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}) if path.exists() else {}
    except ValueError as error:
        raise SettingsError(f"{FILE}: {error}.") from None
    table = tools.get("contracts", {})
    if not isinstance(table, dict) or not all(name in NAMES and _is_texts(value) for name, value in table.items()):
        raise SettingsError(f"{FILE}: [tool.contracts] allows only {' and '.join(NAMES)}, each a list of texts.")
    return Settings(*(frozenset(table.get(name, ())) for name in NAMES))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
