from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from contracts.services import SERVICE_NAMES
from local.supervised_settings import METRICS_PORT_DISTANCE
from mesh.config import Settings
from operations.metrics.addresses import metrics_urls
from operations.metrics.reader import TrafficReader
from operations.metrics.traffic import UNDECLARED, Traffic
from operations.snapshot import Snapshot
from services.gym.app import SERVICE as GYM
from solo60.gym.v1.gym_pb2 import GetGymRequest, ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub
from tests.operations.metrics.pages import CHARGE, GET_GYM, ServicePage
from tests.support.http_answers import HttpAnswers
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.serving import Serve

LIST_GYMS = "solo60.gym.v1.GymService/ListGyms"
OK_OF_SESSION = ("OK", "", "session")


class Pages:
    """Servers of the pages of some services, and a reader of them, whose clock advances by two seconds each time."""

    def __init__(self, servers: dict[str, HttpAnswers], **settings: Any) -> None:
        self.servers = servers
        urls = ",".join(f"{name}=127.0.0.1:{server.port}" for name, server in servers.items())
        self._now_s = 0.0
        self._reader = TrafficReader(settings_with(metrics_urls=urls), timeout_s=1.0, clock=lambda: self._now_s)

    async def read(self, **pages: ServicePage) -> Traffic:
        """Show new pages of these services, and return the traffic."""
        for name, page in pages.items():
            self.servers[name].body = page.text()
        self._now_s += 2.0
        return await self._reader.read()


@asynccontextmanager
async def pages_of(*names: str) -> AsyncIterator[Pages]:
    """Serve pages without calls for these services."""
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(HttpAnswers(ServicePage().text())) for name in names}
        yield Pages(servers)


def settings_with(**settings: Any) -> Settings:
    """Return settings without a file."""
    return Settings(_env_file=None, **settings)  # type: ignore[call-arg]  # pydantic-settings' own argument


async def test_an_edge_has_the_numbers_of_its_caller() -> None:
    """The caller's page gives rate, errors, durations, calls in flight and breaker of an edge."""
    async with pages_of("session", "gym") as pages:
        await pages.read()
        caller = ServicePage(breakers={GET_GYM: "open"})
        caller.called(GET_GYM, ("OK", ""), ("UNAVAILABLE", "CIRCUIT_OPEN"), unfinished=1)
        traffic = await pages.read(session=caller, gym=ServicePage().answered(GET_GYM, OK_OF_SESSION))

    edge = traffic.edge("session", GET_GYM)
    assert edge is not None
    assert (edge.rates.calls_per_s, edge.rates.error_share, edge.in_flight) == (1.0, 0.5, 1)
    assert edge.rates.p99_ms is not None
    assert edge.rates.p99_ms <= 1
    assert (edge.breaker, edge.measured_by, edge.kinds) == ("open", "caller", ("calls",))
    assert traffic.services["gym"].methods[GET_GYM].calls == 1


async def test_an_edge_of_a_caller_without_metrics_has_the_numbers_of_the_callee() -> None:
    """If the caller's page cannot be read, the callee counts the calls of that caller, and the edge says why."""
    async with pages_of("session", "gym") as pages:
        await pages.read()
        pages.servers["session"].status = 500
        traffic = await pages.read(gym=ServicePage().answered(GET_GYM, OK_OF_SESSION, ("OK", "", "operator")))

    edge, outside = traffic.edge("session", GET_GYM), traffic.edge("operator", GET_GYM)
    assert edge is not None
    assert outside is not None
    assert (edge.rates.calls_per_s, edge.measured_by) == (0.5, "callee")
    assert "HTTP status 500" in edge.problem
    assert edge.rates.p99_ms is None  # the callee measures both callers together
    assert (outside.kinds, outside.rates.calls, outside.problem) == (("outside",), 1, "")


async def test_an_edge_without_readable_ends_has_no_data() -> None:
    """If neither end can be read, the edge has a problem in place of numbers, and the other services have theirs."""
    async with pages_of("session", "gym", "payment") as pages:
        await pages.read()
        pages.servers["session"].body = "<html>"
        pages.servers["gym"].status = 404
        traffic = await pages.read(payment=ServicePage().answered(CHARGE, OK_OF_SESSION))

    edge, readable = traffic.edge("session", GET_GYM), traffic.edge("session", CHARGE)
    assert edge is not None
    assert readable is not None
    assert (edge.measured_by, edge.rates.calls) == ("", 0)
    assert "is not a Prometheus page of a service" in edge.problem
    assert readable.rates.calls == 1
    assert traffic.services["auth"].problem == "METRICS_URLS has no entry for auth. Add auth=http://HOST:PORT/metrics."


async def test_a_service_that_restarts_counts_from_zero() -> None:
    """After a restart of the caller, its edges count the calls of the new process."""
    async with pages_of("session", "gym") as pages:
        await pages.read(session=ServicePage().called(GET_GYM, *[("OK", "")] * 9))
        pages.servers["session"].status = 503
        await pages.read()
        pages.servers["session"].status = 200
        traffic = await pages.read(session=ServicePage(2.0).called(GET_GYM, *[("OK", "")] * 12))

    edge = traffic.edge("session", GET_GYM)
    assert edge is not None
    assert edge.rates.calls == 12
    assert edge.rates.calls_per_s == 3


async def test_a_silent_page_does_not_delay_the_others() -> None:
    """A page that never answers costs its timeout once, and its service says so."""
    async with pages_of("session", "gym") as pages:
        pages.servers["session"].answers = False
        async with asyncio.timeout(30):
            traffic = await pages.read(gym=ServicePage())

    assert "did not answer within 1 s" in traffic.services["session"].problem
    assert not traffic.services["gym"].problem


async def test_an_undeclared_call_is_found() -> None:
    """A call that no contract declares is an edge of its own; one without traffic is not."""
    async with pages_of("session", "gym") as pages:
        await pages.read(gym=ServicePage().called(CHARGE, ("OK", "")))
        assert not (await pages.read()).undeclared()
        traffic = await pages.read(gym=ServicePage().called(CHARGE, ("OK", ""), ("OK", "")))

    assert [(edge.caller, edge.method) for edge in traffic.undeclared()] == [("gym", CHARGE)]
    assert UNDECLARED not in {kind for edge in traffic.edges if edge.caller != "gym" for kind in edge.kinds}


async def test_the_traffic_of_a_served_service_is_read(serve: Serve) -> None:
    """Calls of a running service show by caller and outcome, with durations."""
    (port,) = free_ports(1)
    mesh = await serve(GYM, metrics_address=f"127.0.0.1:{port}")
    gyms = mesh.stub(GymServiceStub)
    reader = TrafficReader(settings_with(metrics_urls=f"gym=127.0.0.1:{port}"))
    first = await reader.read()

    for _ in range(3):
        await gyms.ListGyms(ListGymsRequest(page_size=1))
    with pytest.raises(Exception, match="gym"):
        await gyms.GetGym(GetGymRequest(gym_id="3fa85f64-5717-4562-b3fc-2c963f66afa6"))
    traffic = await reader.read()

    assert first.window_s == 0
    assert traffic.window_s > 0
    listed, missing = traffic.edge("operator", LIST_GYMS), traffic.edge("operator", GET_GYM)
    assert listed is not None
    assert missing is not None
    assert (listed.rates.calls, listed.rates.error_share) == (3, 0)
    assert missing.rates.outcomes == {"NotFound GYM_NOT_FOUND": 1}
    rates = traffic.services["gym"].methods[LIST_GYMS]
    assert rates.p50_ms is not None
    assert rates.p99_ms is not None
    assert 0 < rates.p50_ms <= rates.p99_ms


def test_the_pages_of_a_local_mesh_need_no_setting() -> None:
    """Without METRICS_URLS, the page of a service on loopback is at its port plus 500; elsewhere it is unknown."""
    found = metrics_urls(settings_with(gym_service_url="dns:///gym.example:50053", port_offset=1_000))

    assert found["auth"] == [f"http://127.0.0.1:{50_051 + 1_000 + METRICS_PORT_DISTANCE}/metrics"]
    assert found["gym"] == []
    several = metrics_urls(settings_with(session_service_url="10.0.0.7:50053,10.0.0.8:50053"))
    assert several["session"] == []
    assert list(several) == list(SERVICE_NAMES)


async def test_fifty_viewers_cost_a_service_as_much_as_one() -> None:
    """The page of a service is read once per interval for any number of viewers."""
    interval_s = 0.3
    counts = []
    async with HttpAnswers(ServicePage().text()) as server:
        settings = Settings(_env_file=None, metrics_urls=f"gym=127.0.0.1:{server.port}")  # type: ignore[call-arg]  # pydantic-settings' own argument
        for viewers in (1, 50):
            traffic = Snapshot(TrafficReader(settings).read, interval_s)
            began = len(server.requests)

            async def look(traffic: Snapshot[Traffic] = traffic) -> None:
                loop = asyncio.get_running_loop()
                end_s = loop.time() + 5 * interval_s
                while loop.time() < end_s:
                    await traffic.get()
                    await asyncio.sleep(interval_s / 10)

            await asyncio.gather(*(look() for _ in range(viewers)))
            counts.append(len(server.requests) - began)
            await traffic.close()

    # Five intervals have at most six beginnings; a busy machine reads less often.
    assert all(1 <= count <= 6 for count in counts), counts
