from __future__ import annotations

import pytest

from contracts.services import SERVICE_NAMES
from local.supervised_settings import mail_sink_port, metrics_address_of
from mesh.config import Settings, SettingsError, load_settings
from tests.support.ports import free_ports


@pytest.mark.parametrize(
    ("url", "moved"),
    [
        ("127.0.0.1:50053", "127.0.0.1:51053"),
        ("localhost:50053", "localhost:51053"),
        ("dns:///localhost:50053", "dns:///localhost:51053"),
        ("ipv6:[::1]:50053", "ipv6:[::1]:51053"),
        ("ipv4:127.0.0.1:50053,10.0.0.7:50053", "ipv4:127.0.0.1:51053,10.0.0.7:50053"),
        ("dns:///gym.internal:50053", "dns:///gym.internal:50053"),
        ("dns:///my-localhost:50053", "dns:///my-localhost:50053"),
        ("dns:///127.0.0.1.example:50053", "dns:///127.0.0.1.example:50053"),
    ],
)
def test_the_offset_moves_every_address_of_this_machine(url: str, moved: str) -> None:
    """PORT_OFFSET moves the ports of local addresses and leaves those of other machines unchanged."""
    settings = Settings(_env_file=None, port_offset=1000, gym_service_url=url)  # type: ignore[call-arg]  # pydantic-settings' own

    assert settings.url_of("gym") == moved


@pytest.mark.parametrize(
    ("url", "moved"),
    [
        ("smtp://127.0.0.1:50025", "smtp://127.0.0.1:51025"),
        ("smtp://127.0.0.1", "smtp://127.0.0.1:1025"),
        ("smtp://127.0.0.1:1@localhost:1025", "smtp://127.0.0.1:1@localhost:2025"),
        ("smtp://[::1]:1025", "smtp://[::1]:2025"),
        ("smtps://user:password@mail.example:465", "smtps://user:password@mail.example:465"),
    ],
)
def test_the_inbox_moves_with_the_services(url: str, moved: str) -> None:
    """PORT_OFFSET moves the port of a local SMTP_URL and leaves a password that looks like an address unchanged."""
    settings = Settings(_env_file=None, port_offset=1000, smtp_url=url)  # type: ignore[call-arg,arg-type]  # pydantic-settings' own

    assert settings.mail_server_url.get_secret_value() == moved


def test_a_mesh_does_not_use_the_ports_of_the_next_one() -> None:
    """With the offset from README, a second mesh does not use the first one's metrics port or inbox port."""
    [base] = free_ports(1)
    urls = {f"{name}_service_url": f"127.0.0.1:{base}" for name in SERVICE_NAMES}
    first, second = (
        Settings(_env_file=None, port_offset=offset, **urls)  # type: ignore[call-arg,arg-type]  # any settings
        for offset in (0, 1000)
    )

    assert metrics_address_of(first, "gym") not in (None, second.url_of("gym"))
    assert mail_sink_port(first) != mail_sink_port(second)


def test_an_offset_beyond_the_last_port_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset that moves a port above 65535 is rejected. The error names PORT_OFFSET and the moved setting."""
    monkeypatch.setenv("PORT_OFFSET", "20000")

    with pytest.raises(SettingsError, match=r"^PORT_OFFSET: moves AUTH_SERVICE_URL to a port above 65535\.$"):
        load_settings()
