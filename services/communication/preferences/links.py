"""Unsubscribe links: each names a user and a category of mail, and is signed, so that nobody can make one up.

A link never expires, because its mail may be read years later. It contains the user's id, and no other personal data.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from contracts.errors import UnsubscribeTokenInvalid
from mesh import base64url
from mesh.setting_types import secrets_in
from services.communication.preferences.domain import LABELS, Category

if TYPE_CHECKING:
    from mesh.config import Settings

# Separates these signatures from any other use of the same secret.
PURPOSE = b"solo60 unsubscribe 1\n"
# 128 bits: RFC 2104, section 5, recommends at least half of the hash's length.
SIGNATURE_BYTES = 16
USER_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class UnsubscribeLinks:
    """Maker and reader of unsubscribe links.

    `url` is the public address of the endpoint. If it is None, no links are made. The first of `secrets` signs new
    links. A link signed with any of them is valid, so that a secret can be replaced.
    """

    url: str | None
    secrets: tuple[bytes, ...]

    @classmethod
    def of(cls, settings: Settings) -> UnsubscribeLinks:
        """Return the links of these settings."""
        return cls(
            settings.unsubscribe_url, tuple(secret.encode() for secret in secrets_in(settings.unsubscribe_secrets))
        )

    def link_for(self, user_id: UUID | None, category: Category) -> str | None:
        """Return the link for a mail; None if the category cannot be switched off or the recipient has no account."""
        if self.url is None or user_id is None or not category.is_switchable:
            return None
        return f"{self.url}/{self._token(user_id, category)}"

    def read(self, token: str) -> tuple[UUID, Category]:
        """Return the user and the category of a link's token; raise UnsubscribeTokenInvalid."""
        try:
            signed = base64url.decode(token)
        except ValueError:
            raise UnsubscribeTokenInvalid from None
        signature, content = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _signature(secret, content)) for secret in self.secrets):
            raise UnsubscribeTokenInvalid
        name = content[USER_ID_BYTES:].decode()
        if name not in LABELS:  # a category of another version
            raise UnsubscribeTokenInvalid
        return UUID(bytes=content[:USER_ID_BYTES]), Category(name)

    def _token(self, user_id: UUID, category: Category) -> str:
        content = user_id.bytes + category.encode()
        return base64url.encode(_signature(self.secrets[0], content) + content)


def _signature(secret: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, PURPOSE + content, "sha256")[:SIGNATURE_BYTES]
