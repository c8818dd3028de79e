from __future__ import annotations

import re
import socket
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from contracts.services import SERVICE_NAMES
from local.forking import ForkServer
from local.held_ports import HeldPorts
from local.parts import MESH, MeshError
from local.service_databases import reject_unusable_services
from local.supervised_settings import environment_of_service, hold_ports, mail_sink_port
from local.supervisor import Mesh
from mesh.config import Settings, SettingsError
from mesh.serving.health_probe import UNREACHABLE, probe_of
from tests.support.local_mesh import LocalMesh
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stopped() -> Iterator[LocalMesh]:
    """Make a folder and ports for a mesh that is not running."""
    with LocalMesh.in_new_folder() as mesh:
        yield mesh


@pytest.mark.requirement("S1")
def test_a_service_gets_the_settings_and_its_own_key(stopped: LocalMesh) -> None:
    """A service gets the mesh's settings and its own key file.

    Reflection is open by default in a local mesh.
    """
    settings = stopped.settings_with(log_requests=False)

    environment = environment_of_service(settings, "gym")

    assert environment["GYM_SERVICE_URL"] == settings.url_of("gym")
    assert environment["SERVICE_API_KEY_FILE"] == str(stopped.data_dir / "keys" / "gym")
    assert (environment["LOG_REQUESTS"], environment["REFLECTION_OPEN"]) == ("False", "True")


async def test_a_service_behind_a_proxy_has_its_own_listen_address(stopped: LocalMesh) -> None:
    """A service behind a proxy listens at an address other than its URL. That address must be free."""
    (port,) = free_ports(1)
    behind = {"gym": f"127.0.0.1:{port}"}
    mesh = Mesh(stopped.settings, listen_addresses=behind)

    assert mesh.environment_of("gym")["LISTEN_ADDRESS"] == behind["gym"]
    assert mesh.environment_of("gym")["GYM_SERVICE_URL"] == stopped.settings.url_of("gym")
    assert "LISTEN_ADDRESS" not in mesh.environment_of("user")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with closing(HeldPorts()) as ports, pytest.raises(SettingsError, match=f"127.0.0.1:{port} is in use"):
            await hold_ports(ports, stopped.settings, behind)


def test_a_local_mesh_has_a_longer_queue_delay_by_default(stopped: LocalMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A local mesh sets an unset SHED_QUEUE_DELAY_S to 0.5 s, because all services share one busy machine."""
    monkeypatch.delenv("SHED_QUEUE_DELAY_S", raising=False)
    unset = Settings(_env_file=None, data_dir=stopped.data_dir)  # type: ignore[call-arg]  # of pydantic-settings
    explicit = stopped.settings_with(shed_queue_delay_s=0.02)

    assert environment_of_service(unset, "gym")["SHED_QUEUE_DELAY_S"] == "0.5"
    assert environment_of_service(explicit, "gym")["SHED_QUEUE_DELAY_S"] == "0.02"


def test_unsubscribe_links_work_in_a_local_mesh(stopped: LocalMesh) -> None:
    """Mails of a local mesh have links to the communication service's own HTTP, always signed with the same secret."""
    first, second = [environment_of_service(stopped.settings, "communication") for _ in range(2)]

    assert first["UNSUBSCRIBE_URL"] == f"http://{first['HTTP_ADDRESS']}/unsubscribe"
    assert len(first["UNSUBSCRIBE_SECRETS"]) >= 32
    assert first["UNSUBSCRIBE_SECRETS"] == second["UNSUBSCRIBE_SECRETS"]
    assert (stopped.data_dir / "unsubscribe_secret").stat().st_mode & 0o077 == 0
    assert "UNSUBSCRIBE_SECRETS" not in environment_of_service(stopped.settings, "gym")


def test_explicit_unsubscribe_links_are_not_replaced(stopped: LocalMesh) -> None:
    """An explicit address and secret of unsubscribe links also apply in a local mesh."""
    url, secret = "https://mail.solo60.example/unsubscribe", "a" * 32
    settings = stopped.settings_with(unsubscribe_url=url, unsubscribe_secrets=SecretStr(secret))

    environment = environment_of_service(settings, "communication")

    assert (environment["UNSUBSCRIBE_URL"], environment["UNSUBSCRIBE_SECRETS"]) == (url, secret)


def test_a_mesh_without_http_on_this_machine_has_no_unsubscribe_links(stopped: LocalMesh) -> None:
    """A communication service that listens beyond this machine gets no links, because it has no known address."""
    (port,) = free_ports(1)
    settings = stopped.settings_with(listen_address=f"0.0.0.0:{port}")

    assert "UNSUBSCRIBE_URL" not in environment_of_service(settings, "communication")


async def test_an_address_of_another_machine_is_rejected(stopped: LocalMesh) -> None:
    """A local mesh rejects a service URL of another machine."""
    settings = stopped.settings_with(user_service_url="dns:///192.0.2.1:50052")

    sentence = (
        r"^USER_SERVICE_URL: 192\.0\.2\.1:50052 is not an address of this machine\. Use one, such as 127\.0\.0\.1\.$"
    )
    with closing(HeldPorts()) as ports, pytest.raises(SettingsError, match=sentence):
        await hold_ports(ports, settings)


async def test_two_settings_with_one_address_are_rejected(stopped: LocalMesh) -> None:
    """Two settings with one address are rejected before the start, also in different spellings."""
    port = stopped.settings.url_of("gym").rpartition(":")[2]
    for setting, url in (("user_service_url", f"localhost:{port}"), ("smtp_url", f"smtp://127.0.0.1:{port}")):
        settings = stopped.settings_with(**{setting: url})

        with closing(HeldPorts()) as ports, pytest.raises(SettingsError, match=rf":{port} is also set in ") as refused:
            await hold_ports(ports, settings)
        assert {"GYM_SERVICE_URL", setting.upper()} == set(re.findall("[A-Z]+(?:_[A-Z]+)*_URL", str(refused.value)))


@pytest.mark.system
async def test_services_start_without_a_fork_server(stopped: LocalMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the fork server fails, the reason is reported, and each service starts in an interpreter of its own."""
    monkeypatch.setattr("local.process_starter.ForkServer", partial(ForkServer, "no_such_module:preload"))
    reports: list[tuple[str, str]] = []

    async with Mesh(stopped.settings, lambda *report: reports.append(report)):
        assert stopped.is_serving()

    (sentence,) = [state for part, state in reports if part == MESH]
    assert sentence == (
        "starts an interpreter for each process, because the fork server failed: "
        "ModuleNotFoundError: No module named 'no_such_module'."
    )


def test_a_service_without_a_folder_stops_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A contract without a folder in `services/` is reported by name, and no remedy deletes data."""
    monkeypatch.setattr("local.service_databases.SERVICES_FOLDER", tmp_path)
    for name in SERVICE_NAMES:
        if name != "gym":
            (tmp_path / name).mkdir()

    with pytest.raises(MeshError) as refused:
        reject_unusable_services()

    assert str(refused.value) == (
        "gym has a contract, but no folder services/gym. Add the folder, or delete the contract and run `make gen`."
    )


def test_two_services_of_one_name_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that the checks would report stops the start with the same sentence."""
    monkeypatch.setattr("local.service_databases.problems_of_services", lambda _services: iter(["a.B: wrong."]))

    with pytest.raises(MeshError, match=r"^a\.B: wrong\. Change the contract, then run `make gen`\.$"):
        reject_unusable_services()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("smtp://127.0.0.1:50025", 50025),
        ("smtp://localhost:1025", 1025),
        ("smtp://127.0.0.1", 25),
        ("smtps://user:password@mail.example:465", None),
    ],
)
def test_the_mail_sink_runs_only_for_a_local_mail_server(stopped: LocalMesh, url: str, port: int | None) -> None:
    """The mail sink listens at the port of a local SMTP_URL. With a remote SMTP_URL, the mail sink does not run."""
    assert mail_sink_port(stopped.settings_with(smtp_url=url)) == port


@pytest.mark.requirement("S5")
async def test_a_probe_of_an_unused_port_returns_unreachable() -> None:
    """A probe of a port without a listener returns UNREACHABLE instead of raising an error."""
    (port,) = free_ports(1)

    async with probe_of(f"127.0.0.1:{port}", "solo60.gym.v1.GymService") as probe:
        assert await probe() == UNREACHABLE
