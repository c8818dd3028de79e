"""Comments and example requests of our contracts, which `buf generate` stores in gen/solo60/texts.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import solo60
from contracts.source_paths import full_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.source_paths import Element

FILE_NAME = "texts.json"


@dataclass(frozen=True, slots=True)
class Texts:
    """Comments by the full name of a declaration, and valid example requests by the full name of their message."""

    comments: Mapping[str, str]
    examples: Mapping[str, Mapping[str, Any]]

    def comment_of(self, element: Element) -> str:
        """Return the comment above a declaration, or an empty text."""
        return self.comments.get(full_name_of(element), "")


@cache
def stored_texts() -> Texts:
    """Return the stored texts."""
    path = next(path for root in solo60.__path__ if (path := Path(root) / FILE_NAME).exists())
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Texts(stored["comments"], stored["examples"])
