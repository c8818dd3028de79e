"""Mesh with every service, in which each call can fail, and a caller that repeats each call until it is answered."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from contracts.errors import CircuitOpen, DeadlineExceeded, RateLimited, RequestInProgress, Unavailable
from interceptors.idempotency import IDEMPOTENCY_KEY
from local.mail_sink import read_mails
from services.auth import app as auth
from services.communication import app as communication
from services.gym import app as gym
from services.payment import app as payment
from services.session import app as session
from services.subscription import app as subscription
from services.user import app as user
from tests.support.eventually import eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from local.mail_sink import Mail
    from mesh.serving.channel import StubClass
    from tests.outages.faults import FirstCallsFail
    from tests.support.serving import MeshForTests

T = TypeVar("T")
S = TypeVar("S")

# One process serves all of them, so none may listen at HTTP_ADDRESS.
SERVICES = {
    each.name: replace(each, http=None)
    for each in (
        auth.SERVICE,
        user.SERVICE,
        gym.SERVICE,
        session.SERVICE,
        payment.SERVICE,
        subscription.SERVICE,
        communication.SERVICE,
    )
}
# Longer than the first pauses after failed deliveries, and shorter than a hold.
PAUSE = timedelta(seconds=5)
TIMEOUT_S = 120.0
_PENDING = "select count(*) from outbox where status = 'pending' and deliver_time <= $1"
_DEAD = "select destination, last_error from outbox where status = 'dead'"
_UNSENT = "select count(*) from messages where status not in ('SENT', 'DEAD')"


@dataclass(frozen=True, slots=True)
class OutageMesh:
    """Running mesh with stubs that have every scope. `faults` holds the interceptor of each service."""

    services: MeshForTests
    inbox_folder: Path
    faults: dict[str, FirstCallsFail]
    urls: dict[str, str]

    def stub(self, stub_type: StubClass[S]) -> S:
        """Return a stub of a service."""
        return self.services.stub(stub_type)

    async def call(self, method: Callable[..., Awaitable[T]], request: Any) -> T:
        """Call a method with one idempotency key until it answers, like a well-behaved client."""
        key = ((IDEMPOTENCY_KEY, uuid4().hex),)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    return await method(request, metadata=key)
                except (Unavailable, DeadlineExceeded, CircuitOpen, RateLimited, RequestInProgress) as failed:
                    await asyncio.sleep(failed.retry_after_s or 0.05)

    async def stop(self, name: str) -> None:
        """Stop a service."""
        await self.services.stop(name)

    async def start(self, name: str) -> None:
        """Start a stopped service on its database."""
        served = replace(SERVICES[name], interceptors=(self.faults[name],))
        await self.services.start(served, self.urls[name])
        await self.services.wait_until_connected(name)

    async def settle(self) -> None:
        """Wait until everything due is done. The clock skips the pauses after failed deliveries."""

        async def is_settled() -> bool:
            if not await self._is_pending():
                return True
            self.services.clock.advance(PAUSE)
            return False

        await eventually(is_settled)

    async def mails(self) -> Counter[str]:
        """Wait until everything due is done, and count the mails by recipient's name and first words of the subject."""
        await self.settle()
        return Counter(f"{_name_of(mail)}: {_topic_of(mail)}" for mail in self._mails())

    async def mail_to(self, recipient: str, subject: str) -> Mail:
        """Wait until everything due is done, and return the newest mail to a recipient with this subject."""
        await self.settle()
        return [mail for mail in self._mails() if mail.recipient == recipient and mail.subject.startswith(subject)][-1]

    async def fetch(self, service: str, query: str, *values: object) -> list[Any]:
        """Query the database of a service, which may be down."""
        async with connection_to(self.urls[service]) as connection:
            return list(await connection.fetch(query, *values))

    def _mails(self) -> list[Mail]:
        """Return the mails without second copies, which have the Message-ID of the first."""
        return list({mail.message_id: mail for mail in read_mails(self.inbox_folder)}.values())

    async def _is_pending(self) -> bool:
        now = self.services.clock.now()
        for name in SERVICES:
            dead = await self.fetch(name, _DEAD)
            assert [tuple(row) for row in dead] == []
            ((pending,),) = await self.fetch(name, _PENDING, now)
            if pending:
                return True
        ((unsent,),) = await self.fetch("communication", _UNSENT)
        return bool(unsent)


def _name_of(mail: Mail) -> str:
    """Return the part of the recipient's address that the test has chosen, such as "owner"."""
    return mail.recipient.partition("@")[0]


def _topic_of(mail: Mail) -> str:
    """Return the first two words of the subject."""
    return " ".join(re.findall(r"\w+", mail.subject)[:2])
