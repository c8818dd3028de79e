"""Errors that a contract declares, but that a consumer's requests cannot cause."""

from __future__ import annotations

# By consumer, provider, method and reason.
NOT_EXPECTED: dict[tuple[str, str, str, str], str] = {
    ("auth", "user", "UpdateUser", "ETAG_MISMATCH"): "The auth service sends no etag.",
}
