"""Options of every gRPC channel that the mesh opens."""

from __future__ import annotations


def connection_options(*, through_proxy: bool = False) -> list[tuple[str, int]]:
    """Return the common channel options; with `through_proxy`, the channel uses `http_proxy` of the environment."""
    return [
        # grpcio (1.62 to 1.85.3) crashes if two channels share a subchannel, both watch its health, and the connection
        # ends: HealthWatcher::SetSubchannel publishes the producer before its Start(). Channels with a local
        # subchannel pool share none. tests/soak/test_health_race.py reproduces the crash.
        ("grpc.use_local_subchannel_pool", 1),
        # By default the core uses `http_proxy`, even for loopback, and a proxy for web pages does not support gRPC.
        ("grpc.enable_http_proxy", int(through_proxy)),
    ]
