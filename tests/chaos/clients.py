"""Clients of many members at once while the mesh breaks.

A client repeats a call with the same idempotency key until the outcome is known. `consistency` compares the outcomes
that clients saw with the final state of the mesh.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.gym_pb2 import WAITING_LIST_MODE_NOTIFY_ALL, WAITING_LIST_MODE_OFFER_ONE, CreateGymRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.chaos.caller import repeat
from tests.chaos.journeys import GYMS, is_noisy, offers_slots
from tests.chaos.member import CREDITS_PER_HOUR, Member

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mesh.serving.channel import Channels
    from tests.chaos.inbox import Inbox
    from tests.chaos.journeys import Journey, Outcome

NOISE_POLICY = "No dropped weights."


@dataclass(slots=True)
class Clients:
    """All clients of one run, with a count of the mesh's answers. At most `concurrency` journeys run at a time."""

    channels: Channels
    inbox: Inbox
    seed: int
    concurrency: int
    gym_ids: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    async def open_gyms(self) -> None:
        """Create the gyms. Every other one has a noise policy, and every third one offers free slots."""
        gyms = self.channels.stub(GymServiceStub)
        rng = random.Random(f"{self.seed}/gyms")  # noqa: S311 - only for pauses
        for number in range(GYMS):
            request = CreateGymRequest(
                name=f"Gym {number}",
                time_zone="UTC",
                price_per_hour=Money(currency_code="GBP", minor_units=500),
                credits_per_hour=CREDITS_PER_HOUR,
                noise_policy=NOISE_POLICY if is_noisy(number) else "",
                waiting_list_mode=WAITING_LIST_MODE_OFFER_ONE if offers_slots(number) else WAITING_LIST_MODE_NOTIFY_ALL,
            )
            key = ((IDEMPOTENCY_KEY, f"open/{self.seed}/{number}"),)
            answer = await repeat(partial(gyms.CreateGym, request, metadata=key), rng, self.answers)
            self.gym_ids.append(answer.gym.gym_id)

    async def run(self, journeys: Sequence[Journey], begun: Callable[[int], None]) -> list[Outcome]:
        """Make all journeys, and pass the number of those begun to `begun`."""
        turns = asyncio.Semaphore(self.concurrency)

        async def run(journey: Journey) -> Outcome:
            async with turns:
                begun(journey.number + 1)
                member = Member(journey, self.channels, self.inbox, self.gym_ids, self.answers, self.seed)
                return await member.run()

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(run(journey)) for journey in journeys]
        return [each.result() for each in running]
