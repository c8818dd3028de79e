from __future__ import annotations

from interceptors.tracing.span_attributes import MAX_CACHED_USER_AGENT, SpanAttributes, _cached_of_caller

PEER = "ipv4:127.0.0.1:57284"


def test_calls_of_one_connection_share_their_attributes() -> None:
    """The attributes of a caller are made once for all calls of a connection."""
    names = SpanAttributes()

    first, second = (names.of_caller("gym", PEER, "grpc-python/1.85.1") for _ in range(2))

    assert first is second
    assert first == {
        "solo60.caller": "gym",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": 57284,
        "user_agent.original": "grpc-python/1.85.1",
    }


def test_long_user_agents_are_not_stored() -> None:
    """A caller with many long user agents cannot fill the memory."""
    names = SpanAttributes()
    before = _cached_of_caller.cache_info().currsize

    attributes = names.of_caller("gym", PEER, "x" * (MAX_CACHED_USER_AGENT + 1))

    assert attributes["user_agent.original"] == "x" * (MAX_CACHED_USER_AGENT + 1)
    assert _cached_of_caller.cache_info().currsize == before
