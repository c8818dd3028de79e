"""Schemas of the messages of google.protobuf with a JSON form of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from contracts.documents.json_schema import Constraints, Schema

FIELD_MASK = "google.protobuf.FieldMask"
_SCHEMAS: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?\d+(?:\.\d{1,9})?s$"},
    FIELD_MASK: {"type": "string", "pattern": "^(?:[^,]+(?:,[^,]+)*)?$"},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object", "additionalProperties": False},
}


def well_known_schema(name: str) -> Schema | None:
    """Return the schema of a message of google.protobuf, or None if it has no JSON form of its own."""
    return dict(_SCHEMAS[name]) if name in _SCHEMAS else None


def add_mask_rules(rules: Message, constraints: Constraints) -> None:
    """Add the paths that a field mask may or must not contain, in the lowerCamelCase of JSON."""
    for field, value in rules.ListFields():
        if field.name == "const":
            constraints.add(const=",".join(map(_camel_case, value.paths)))
        elif field.name in ("in", "not_in"):
            names = "|".join(_camel_case(path).replace(".", r"\.") for path in value)
            path = rf"(?:{names})(?:\.[^,]+)?"
            if field.name == "in":
                constraints.schema["pattern"] = f"^(?:{path}(?:,{path})*)?$"
            else:
                constraints.add(_not={"pattern": f"(?:^|,){path}(?:,|$)"})


def _camel_case(path: str) -> str:
    return ".".join(_camel_case_part(part) for part in path.split("."))


def _camel_case_part(part: str) -> str:
    first, *others = part.split("_")
    return first + "".join(other.capitalize() for other in others)
