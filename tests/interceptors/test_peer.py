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
def test_the_addresses_of_a_host_are_one_host(peer: str, host: str) -> None:
    """A peer is identified by its host, without the port. Addresses of one IPv6 network are one host."""
    assert host_of(peer) == host
