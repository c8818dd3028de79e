"""Admission of calls to a fake server, by the rules of the contract and in the order of the interceptors."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from contracts.errors import IdempotencyKeyMissing, MessageTooLarge, ScopeMissing, Unauthenticated
from contracts.metadata import API_KEY, IDEMPOTENCY_KEY, MAX_METADATA_BYTES, metadata_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from contracts.method import Method

_KEY_FORM = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Caller of a fake server, with the scopes of its API key; without `key`, the caller gets a random one."""

    name: str
    scopes: frozenset[str]
    key: str = field(default_factory=lambda: f"fake-{uuid.uuid4()}")


def check_size(metadata: Sequence[tuple[str, str | bytes]]) -> None:
    """Raise MessageTooLarge if the metadata of a call is larger than servers accept."""
    if metadata_size(metadata) > MAX_METADATA_BYTES:
        raise MessageTooLarge(f"The metadata is larger than {MAX_METADATA_BYTES} bytes. Send less.")


def caller_of(metadata: Mapping[str, str], callers: Iterable[Caller]) -> Caller:
    """Return the caller with the API key of a call; raise Unauthenticated if there is none."""
    key = metadata.get(API_KEY, "")
    for caller in callers:
        if caller.key == key:
            return caller
    raise Unauthenticated


def check_scopes(method: Method, caller: Caller) -> None:
    """Raise ScopeMissing if the caller's key lacks a scope of the method."""
    missing = ", ".join(sorted(method.policy.scopes - caller.scopes))
    if missing:
        raise ScopeMissing(f"The key of {caller.name} lacks {missing}.", metadata={"scopes": missing})


def idempotency_key_of(method: Method, metadata: Mapping[str, str]) -> str:
    """Return the idempotency key of a call, or an empty string if the method requires none.

    Raises IdempotencyKeyMissing if the key is missing or malformed.
    """
    if not method.policy.idempotency_key_required:
        return ""
    key = metadata.get(IDEMPOTENCY_KEY, "")
    if not _KEY_FORM.fullmatch(key):
        raise IdempotencyKeyMissing(
            f"{method.full_name} requires metadata {IDEMPOTENCY_KEY} with 1 to 255 visible ASCII characters."
        )
    return key
