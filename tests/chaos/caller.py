"""Repetition of calls until their outcome is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from contracts.errors import ServiceError
from contracts.service_error import FIRST_DOMAIN_REASON

if TYPE_CHECKING:
    import random
    from collections import Counter
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

TIMEOUT_S = 120.0
FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 1.0


class RejectedError(Exception):
    """Definite rejection of a call."""


class UnknownOutcomeError(Exception):
    """Unknown outcome of a call after the client has given up."""


async def repeat(
    call: Callable[[], Awaitable[T]], rng: random.Random, answers: Counter[str], *, once: bool = False
) -> T:
    """Call until the answer is definite, and count each answer by its reason.

    Raises RejectedError, or UnknownOutcomeError after TIMEOUT_S. With `once`, the first failure is the last.
    """
    pause_s = FIRST_PAUSE_S
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + (0.0 if once else TIMEOUT_S)
    while True:
        try:
            answer = await call()
        except ServiceError as error:
            reason = error.reason_name() or error.code.name
            answers[reason] += 1
            if error.reason >= FIRST_DOMAIN_REASON:
                raise RejectedError(reason) from error
            if loop.time() >= give_up_at:
                raise UnknownOutcomeError(reason) from error
        else:
            answers["OK"] += 1
            return answer
        await asyncio.sleep(rng.uniform(pause_s / 2, pause_s))
        pause_s = min(MAX_PAUSE_S, 2 * pause_s)
