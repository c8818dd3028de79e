"""Conversion between protobuf messages and the domain of the auth service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.mail_address import folded
from solo60.auth.v1.auth_pb2 import Claims, JsonWebKey, RequestPasswordResetRequest, RevokedLogIn

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from mesh.access_tokens import AccessClaims
    from services.auth.tokens.domain import SigningKey


def render_claims(claims: AccessClaims) -> Claims:
    """Convert the claims of a token to their protobuf message."""
    message = Claims(user_id=str(claims.user_id), roles=claims.roles, log_in_id=str(claims.log_in_id))
    message.expire_time.FromDatetime(claims.expire_time)
    return message


def render_key(key: SigningKey) -> JsonWebKey:
    """Convert the public half of a key to its protobuf message."""
    public = key.jwk.as_dict(private=False)
    return JsonWebKey(kty="OKP", crv="Ed25519", alg="Ed25519", use="sig", kid=key.key_id, x=str(public["x"]))


def render_revoked(log_in_id: UUID, revoke_time: datetime) -> RevokedLogIn:
    """Convert a revoked log-in to its protobuf message."""
    message = RevokedLogIn(log_in_id=str(log_in_id))
    message.revoke_time.FromDatetime(revoke_time)
    return message


def request_of_reset(email: str) -> RequestPasswordResetRequest:
    """Return a request for a password reset that is equal for all spellings of an address.

    The idempotency key stores a hash of this request. The request contains no user id, so an erasure computes the hash
    from the address. Raises ValueError for an invalid address.
    """
    return RequestPasswordResetRequest(email=folded(email))
