"""List methods, which return their results in pages (AIP-158)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

_VERBS = ("List", "Search")


def is_list(method: MethodDescriptor) -> bool:
    """Return whether the name of a method starts with List or Search."""
    return method.name.startswith(_VERBS)
