from __future__ import annotations

import itertools
import math
import random
import time
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from interceptors.chain.server import ServerChain
from interceptors.keys.interceptor import API_KEY, ServerApiKey
from solo60.example.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server
from tests.support.echo import EchoServicer
from tests.support.invalid_keys import InvalidKeys
from tests.support.rotation import rotate_under_load

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = 20_000
# The slowest tenth of the samples is dropped, because it measures other work of the machine.
KEPT_SHARE = 0.9
# Threshold of dudect (Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?", 2017).
MAX_T = 4.5


@pytest.mark.soak
async def test_rotations_fail_no_call(tmp_path: Path) -> None:
    """Ten key rotations at 200 calls per second fail no call."""
    answers = await rotate_under_load(tmp_path, rotations=10)

    assert set(answers) == {"hi"}
    assert len(answers) > 1_000


@pytest.mark.soak
async def test_the_time_of_a_rejection_does_not_depend_on_its_reason() -> None:
    """Keys with an unknown id, a wrong secret or a revocation take the same time to be rejected (Welch's t-test)."""
    invalid = InvalidKeys(SAMPLES)
    samples = invalid.samples()
    random.shuffle(samples)
    taken_s: dict[str, list[float]] = {kind: [] for kind, _ in samples}
    ever_later = itertools.count()  # avoids the limit of failed attempts
    server = grpc.aio.server(
        interceptors=[ServerChain([ServerApiKey(lambda: invalid.keyring, clock=lambda: float(next(ever_later)))])]
    )
    add_EchoServiceServicer_to_server(EchoServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo: Any = channel.unary_unary("/solo60.example.v1.EchoService/Echo")
        for kind, key in samples:
            began_s = time.perf_counter()
            call = echo(b"", metadata=((API_KEY, key),))
            code = await call.code()
            taken_s[kind].append(time.perf_counter() - began_s)
            assert code is grpc.StatusCode.UNAUTHENTICATED
    await server.stop(0)

    for one, other in itertools.combinations(taken_s, 2):
        assert abs(welch_t(taken_s[one], taken_s[other])) < MAX_T, f"{one} and {other}"


def welch_t(one: list[float], other: list[float]) -> float:
    """Return Welch's t of the fastest KEPT_SHARE of both samples."""
    one, other = ((sorted(each)[: int(KEPT_SHARE * len(each))]) for each in (one, other))
    return (fmean(one) - fmean(other)) / math.sqrt(variance(one) / len(one) + variance(other) / len(other))
