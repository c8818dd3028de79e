"""Errors in the contracts of methods that a consumer cannot get, each with the reason.

Keys are consumer, provider, method and error. A table of the coverage contains the reasons: docs/contract-coverage.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.testing.coverage import ErrorOfEdge

_OF_PARTS = (
    "PAYMENT_DISPUTED",
    "PAYMENT_NOT_CAPTURED",
    "PAYMENT_NOT_FOUND",
    "REFUND_ABOVE_PAYMENT",
    "REFUND_ID_REUSED",
    "REFUND_REJECTED",
)

NOT_EXPECTED: dict[ErrorOfEdge, str] = {
    ("auth", "user", "UpdateUser", "ETAG_MISMATCH"): "The auth service sends no etag.",
    **{
        (consumer, "payment", "RefundSession", error): "Only the refund of a part fails; this is the whole refund."
        for consumer in ("payment", "session")
        for error in _OF_PARTS
    },
}
