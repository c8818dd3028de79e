"""JSON schema validators for the messages of a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker

from contracts.documents.message_schema import MessageSchemas

if TYPE_CHECKING:
    from contracts.documents.catalog import Catalog


class Schemas:
    """Validators that check values in JSON against the schema of a message, by its full name."""

    def __init__(self, components: dict[str, Any]) -> None:
        self._components = components
        self._validators: dict[str, Any] = {}

    @classmethod
    def of(cls, catalog: Catalog) -> Schemas:
        """Return the validators for every message of a catalog."""
        return cls(MessageSchemas(catalog).components(catalog.messages.values()))

    def problems(self, name: str, value: object) -> list[str]:
        """Return the rules that a value breaks."""
        if name not in self._validators:
            schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": self._components}}
            self._validators[name] = Draft202012Validator(schema, format_checker=FormatChecker())
        return [error.message for error in self._validators[name].iter_errors(value)]
