"""Parts of JSON Schemas, and the rules that no keyword of JSON Schema expresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Constraints:
    """Constraints on one value: keywords of JSON Schema, and notes in words for all other rules."""

    schema: Schema = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, **keywords: object) -> None:
        """Add keywords. A keyword that is present already is combined by `allOf`. `_not` is the keyword `not`."""
        new = {name.lstrip("_"): value for name, value in keywords.items()}
        if new.keys() & self.schema.keys():
            self.schema.setdefault("allOf", []).append(new)
        else:
            self.schema.update(new)

    def add_all(self, schema: Schema) -> None:
        """Add the keywords of a schema."""
        self.add(**{"_not" if name == "not" else name: value for name, value in schema.items()})
