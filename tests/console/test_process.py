"""Process of the console: as a part of a mesh, and beside one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from local.keys import OPERATOR
from local.readiness import answers
from tests.support.browser import visiting
from tests.support.console_process import ConsoleProcess, running_console
from tests.support.local_mesh import LocalMesh, process_tree_of

if TYPE_CHECKING:
    import psutil
    from playwright.sync_api import Browser

    from tests.support.browser import Visitor

pytestmark = pytest.mark.system


def _console_of(mesh: LocalMesh) -> psutil.Process:
    (found,) = [each for each in process_tree_of(mesh.process) if each.cmdline()[-2:] == ["-m", "console"]]
    return found


def test_a_killed_console_is_restarted(console_mesh: LocalMesh) -> None:
    """The monitor restarts the console as it restarts a service, and the services do not notice."""
    killed = _console_of(console_mesh)
    printed = len(console_mesh.output)
    killed.kill()

    console_mesh.wait_for_output("console was killed by signal 9. It restarts", printed)
    console_mesh.wait_for_output("console is running again.", printed)
    assert answers(console_mesh.settings.console_listen_address)
    assert console_mesh.is_serving()


def test_missing_packages_are_named() -> None:
    """Without its packages, the console ends with the command that installs them."""
    program = "import runpy, sys; sys.modules['nicegui'] = None; runpy.run_module('console', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr == "The console needs more packages: pip install 'solo60-mesh[console]'.\n"


def test_a_command_restarts_the_console(console_mesh: LocalMesh) -> None:
    """`solo60 restart console` replaces its process."""
    before = _console_of(console_mesh).pid
    done = console_mesh.solo60("restart", "console")

    assert done.returncode == 0, done.stderr
    assert _console_of(console_mesh).pid != before


def test_a_page_survives_a_restart_of_the_console(console_mesh: LocalMesh, visitor: Visitor) -> None:
    """The browser connects again, and the page works as before."""
    visitor.expected += ["WebSocket connection", "net::ERR"]
    page = visitor.open("/login")
    page.evaluate("window.isOfFirstConsole = true")
    assert console_mesh.solo60("restart", "console").returncode == 0

    # The page loads itself again when it reaches the new console.
    page.wait_for_function("!window.isOfFirstConsole")
    page.get_by_label("API key").fill(console_mesh.settings.key_path_of(OPERATOR).read_text().strip())
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="sign out")).to_be_visible()


def test_a_mesh_without_a_free_port_has_no_console(stopped_mesh: LocalMesh) -> None:
    """The mesh starts, and says who has the port."""
    host, _, port = stopped_mesh.settings.console_listen_address.rpartition(":")
    with socket.create_server((host, int(port))):
        stopped_mesh.up(console=True)
        refused = stopped_mesh.solo60("restart", "console")

    assert f"CONSOLE_ADDRESS: {host}:{port} is in use by " in stopped_mesh.output
    assert "console is not a part of this mesh." in refused.stderr


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"console_address": "0.0.0.0:1"}, "CONSOLE_ADDRESS: must be on loopback unless CONSOLE_LOGIN is true"),
        ({"console_hosts": "a b"}, "CONSOLE_HOSTS: must be host names without ports"),
        ({"console_hosts": "a.example:80"}, "CONSOLE_HOSTS: must be host names without ports"),
        ({"keyring_file": "/nowhere"}, "KEYRING_FILE: there is no file /nowhere"),
        ({"service_api_key_file": None}, "SERVICE_API_KEY: not set"),
        ({"console_address": "127.0.0.1:{used}"}, "CONSOLE_ADDRESS: 127.0.0.1:{used} is in use"),
    ],
)
def test_a_wrong_setting_stops_the_start(console_mesh: LocalMesh, settings: dict[str, object], sentence: str) -> None:
    """The console ends with exit code 2 and one sentence that names the setting."""
    used = console_mesh.settings.console_listen_address.rpartition(":")[2]
    filled = {name: value.format(used=used) if isinstance(value, str) else value for name, value in settings.items()}
    console = ConsoleProcess(console_mesh, **filled)

    assert sentence.format(used=used) in console.output()
    assert console.process.returncode == 2


def test_a_console_with_a_login_shows_nothing_without_a_key(console_mesh: LocalMesh, browser: Browser) -> None:
    """A reader signs in with a valid key, and an open page ends after its key is revoked."""
    key = console_mesh.solo60("keys", "issue", "reader", "--scope", "outbox.read").stdout.strip()
    with running_console(console_mesh, console_login=True) as console, visiting(browser, console.base) as visitor:
        page = visitor.open("/")
        expect(page).to_have_url(f"{console.base}/login?next=%2F")
        visitor.sign_in(key)
        visitor.go(page, "/")
        expect(page).to_have_url(f"{console.base}/")
        assert console_mesh.solo60("keys", "revoke", key.split("_")[2]).returncode == 0
        expect(page.get_by_label("API key")).to_be_visible()


def test_a_stop_with_an_open_page_is_clean_and_quick(console_mesh: LocalMesh, browser: Browser) -> None:
    """The process ends with exit code 0, although a browser is connected, and no key is in its log."""
    key = console_mesh.settings.key_path_of(OPERATOR).read_text().strip()
    with running_console(console_mesh) as console, visiting(browser, console.base) as visitor:
        visitor.expected += ["WebSocket connection", "net::ERR"]
        visitor.sign_in(key)
        visitor.open("/")
        code, output = console.stop(), console.output()

    assert code == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"signed in", "stopping"} <= {line["event"] for line in lines}
    assert not [line for line in lines if line["level"] != "info"]
    assert key not in output


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, "key=x", 403),
        ({"Origin": "http://evil.example"}, "key=x", 403),
        ({"Origin": "{base}"}, "key=" + "x" * 10_000, 413),
    ],
)
def test_a_forged_sign_in_is_refused(console_mesh: LocalMesh, headers: dict[str, str], body: str, status: int) -> None:
    """Another site cannot sign a reader in, and a huge form is not read."""
    connection = HTTPConnection(console_mesh.settings.console_listen_address)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    filled = {name: value.format(base=console_mesh.console_url) for name, value in headers.items()}
    connection.request("POST", "/session", body, {**form, **filled})

    assert connection.getresponse().status == status
    connection.close()


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_a_sign_in_leads_to_no_other_site(console_mesh: LocalMesh, visitor: Visitor, target: str) -> None:
    """An address from outside that names another site is replaced by the first page."""
    page = visitor.open(f"/login?next={target}")
    page.get_by_label("API key").fill(console_mesh.settings.key_path_of(OPERATOR).read_text().strip())
    page.get_by_role("button", name="Sign in").click()

    expect(page).to_have_url(f"{visitor.base}/")
