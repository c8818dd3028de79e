"""Owners of codes: a code proves the ownership of the address that it was sent to, and of no other."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from services.auth.codes.domain import address_mac

if TYPE_CHECKING:
    from services.auth.codes.store import FoundCode
    from services.auth.user_directory import UserDirectory
    from solo60.user.v1.user_pb2 import User


class CodeOwners:
    """Confirmation of email addresses by codes."""

    def __init__(self, users: UserDirectory) -> None:
        self._users = users

    async def confirm(self, found: FoundCode, code: str) -> User | None:
        """Confirm the address that the code was sent to, and return its user.

        Returns None if the address is not the user's any more. A repeated call has no further effect. Raises
        ServiceError if the user service does not answer.
        """
        user = await self._users.find(found.user_id)
        if user is None or not hmac.compare_digest(address_mac(code, user.email), found.address_mac):
            return None
        return user if user.email_confirmed or await self._users.confirm_email(user) else None
