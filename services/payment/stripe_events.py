"""Events of the card processor, Stripe, and the fields that they have in common.

The `read_` functions return a field in the form of this service. If the field has another form, they raise an error
that `parsing_payload` turns into InvalidRequest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from mesh.webhooks.payload import parsing_payload

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID, _ID_OR_NONE = re.compile(r"[A-Za-z0-9_-]{1,255}"), re.compile(r"[A-Za-z0-9_-]{0,255}")
_CURRENCY, _REASON = re.compile(r"[A-Z]{3}"), re.compile(r"[a-z_]{0,64}")
_MAX_AMOUNT = 2**63 - 1


def parse_event(payload: bytes) -> Mapping[str, Any]:
    """Return the event in a payload. Its `type` is a text; all other fields are unchecked.

    Raises InvalidRequest if the payload cannot be parsed.
    """
    with parsing_payload("webhook event"):
        event: Mapping[str, Any] = orjson.loads(payload)
        if not isinstance(event["type"], str):
            raise TypeError("a type that is no text")
        return event


def read_id(value: str) -> str:
    """Return the id of an object."""
    return _text(value, _ID)


def read_intent_id(charged: Mapping[str, Any]) -> str:
    """Return the payment intent of a dispute or refund; empty if its charge has none."""
    return _text(charged.get("payment_intent") or "", _ID_OR_NONE)


def read_currency(value: str) -> str:
    """Return an ISO 4217 code. Stripe writes it in small letters."""
    return _text(value.upper(), _CURRENCY)


def read_amount(value: object) -> int:
    """Return a positive amount in minor units."""
    if not isinstance(value, int) or not 0 < value <= _MAX_AMOUNT:
        raise ValueError("no positive amount")
    return value


def read_reason(value: str) -> str:
    """Return a reason, which is a word of Stripe's documentation and no free text."""
    return _text(value, _REASON)


def _text(value: str, form: re.Pattern[str]) -> str:
    if form.fullmatch(value) is None:
        raise ValueError("a text of another form")
    return value
