"""Connections: the options of every gRPC channel that the mesh opens."""

from __future__ import annotations


def connection_options(*, through_proxy: bool = False) -> list[tuple[str, int]]:
    """Return the options of any channel; with `through_proxy`, `http_proxy` in the environment holds for it."""
    return [
        # grpcio (1.62 to 1.85.3) crashes when two channels share a subchannel and both watch its health, each time the
        # connection ends: HealthWatcher::SetSubchannel publishes the producer before its Start(). Channels with a pool
        # of their own share none. tests/soak/test_health_race.py reproduces the crash.
        ("grpc.use_local_subchannel_pool", 1),
        # By default the core obeys `http_proxy`, even for loopback, and a proxy for web pages carries no gRPC.
        ("grpc.enable_http_proxy", int(through_proxy)),
    ]
