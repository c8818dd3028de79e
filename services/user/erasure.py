"""Erasure of a person: the user leaves at once, and personal data is erased in a later call.

Other services store the address of a person who is a guest of somebody else, without the user id. So the user service
first makes them erase the address, and then erases its own copy. No event, outbox message or log contains the address.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.errors import UserNotFound
from mesh.data.erasure import erase_user_data
from services.user.domain import found
from solo60.auth.v1.auth_pb2 import EraseAddressRequest as EraseFromAuth
from solo60.communication.v1.communication_pb2 import EraseAddressRequest as EraseFromCommunication
from solo60.session.v1.session_pb2 import EraseAddressRequest as EraseFromSession
from solo60.subscription.v1.subscription_pb2 import EraseAddressRequest as EraseFromSubscription
from solo60.user.v1.events_pb2 import UserErased, UserLeft
from solo60.user.v1.user_pb2 import CompleteErasureRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from uuid import UUID

    from services.user.store import UserStore
    from solo60.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from solo60.session.v1.session_pb2_grpc import SessionServiceAsyncStub
    from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceAsyncStub
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Erasure:
    """Erasure of users. `users` is the user service itself, and `now` returns the current time in UTC."""

    store: UserStore
    users: UserServiceAsyncStub
    auth: AuthServiceAsyncStub
    sessions: SessionServiceAsyncStub
    subscriptions: SubscriptionServiceAsyncStub
    communication: CommunicationServiceAsyncStub
    now: Callable[[], datetime]

    async def begin(self, user_id: UUID) -> datetime:
        """Make a user leave, schedule the erasure, and return the time of the first request; raise UserNotFound."""
        now = self.now()
        async with self.store.transaction() as tx:
            user = found(await self.store.lock(tx, user_id))
            leaving = user.leaving_to_be_erased(now)
            if leaving != user:
                await self.store.save(tx, leaving)
                if not user.has_left:
                    await tx.publish(UserLeft(user_id=str(user_id)))
                await tx.call_later(self.users.CompleteErasure, CompleteErasureRequest(user_id=str(user_id)))
        return leaving.erase_time or now

    async def complete(self, user_id: UUID) -> None:
        """Erase a user for whom `begin` was called, and publish UserErased; do nothing if it is done.

        Raises UserNotFound, and the error of a service that does not answer: the outbox then tries again.
        """
        user = found(await self.store.find(user_id))
        if user.erase_time is None:
            raise UserNotFound("No erasure of this user was requested.")
        if not user.has_personal_data:
            return
        await self._erase_address(user.profile.email)
        async with self.store.transaction() as tx:
            locked = found(await self.store.lock(tx, user_id))
            if locked.has_personal_data:
                await self.store.save(tx, locked.erased(self.now()))
                await erase_user_data(tx.connection, user_id)
                await tx.publish(UserErased(user_id=str(user_id)))

    async def _erase_address(self, email: str) -> None:
        # Sessions first: no mail to the address leaves the session service after its answer.
        await self.sessions.EraseAddress(EraseFromSession(email=email))
        await asyncio.gather(
            self.auth.EraseAddress(EraseFromAuth(email=email)),
            self.subscriptions.EraseAddress(EraseFromSubscription(email=email)),
            self.communication.EraseAddress(EraseFromCommunication(email=email)),
        )
