from __future__ import annotations

import pytest

from interceptors.peer import host_of


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.7:51234", "10.0.0.7"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:51234", "10.0.0.7"),
        ("ipv6:%5B2001:db8::1%5D:51234", "2001:db8::/64"),
        ("ipv6:[2001:db8:0:0:9::2]:51235", "2001:db8::/64"),
        ("ipv6:%5B2001:db8:0:1::1%5D:51234", "2001:db8:0:1::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:51234", "fe80::1%eth0"),
        ("unix:/run/mesh.sock", "unix"),
    ],
)
def test_all_addresses_that_a_host_may_use_are_one_host(peer: str, host: str) -> None:
    """Limits for each host hold whatever port, and whatever address of its network, a host calls from."""
    assert host_of(peer) == host
