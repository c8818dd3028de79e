"""Alias for the value of a protobuf field, which depends on the field's type."""

from __future__ import annotations

from typing import Any, TypeAlias

FieldValue: TypeAlias = Any
