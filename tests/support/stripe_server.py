"""Card processor for tests: `localstripe`, a server with the main parts of Stripe's API, as a real process.

    async def test_a_card_is_charged(stripe_server: StripeServer) -> None:
        mesh = await serve(SERVICE, **stripe_server.settings())

One server runs per test worker, and its data is deleted before each test.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.eventually import TIMEOUT_S
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

API_KEY = "sk_test_localstripe"


class StripeServer:
    """Running server at `port` of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def settings(self, port: int | None = None, key: str = API_KEY) -> dict[str, Any]:
        """Return the settings of a service that uses this server, or a proxy to it at `port`."""
        return {"stripe_api_key": SecretStr(key), "stripe_api_url": f"http://127.0.0.1:{port or self.port}"}

    def objects(self, kind: str, **filters: str) -> list[dict[str, Any]]:
        """Return all objects of a kind, such as "charges" or "refunds"."""
        answer = self._request("GET", f"/v1/{kind}", params={"limit": "100", **filters})
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    def add_card(self, number: str) -> str:
        """Add a payment method for a card number, and return its id."""
        data = {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2030, "cvc": "123"}}
        return str(self._request("POST", "/v1/payment_methods", json=data).json()["id"])

    def add_token(self, number: str) -> str:
        """Add a token for a card number, and return its id."""
        data = {"card": {"number": number, "exp_month": 12, "exp_year": 2030, "cvc": "123"}}
        return str(self.post("/v1/tokens", **data)["id"])

    def renew(self, subscription: dict[str, Any]) -> dict[str, Any]:
        """Charge the next period of a subscription, which this server does only on demand; return the invoice."""
        given = {"customer": subscription["customer"], "subscription": subscription["id"]}
        invoice = self.post("/v1/invoices", **given)
        return self.post(f"/v1/invoices/{invoice['id']}/pay")

    def post(self, path: str, **data: Any) -> dict[str, Any]:
        """Send a request that the service under test does not send, and return the answer."""
        answer: dict[str, Any] = self._request("POST", path, json=data).json()
        return answer

    def delete(self, path: str) -> None:
        """Delete an object."""
        self._request("DELETE", path)

    def send_webhooks(self, url: str, secret: str, *events: str) -> None:
        """Send the webhooks of all later events of the given types to `url`, signed with `secret`."""
        self._request("POST", "/_config/webhooks/test", json={"url": url, "secret": secret, "events": events})

    def reset(self) -> None:
        """Delete all objects, and send no more webhooks."""
        self._request("DELETE", "/_config/data")
        self.send_webhooks(self.url, "none")

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=TIMEOUT_S) as client:
            return client.request(method, path, **options).raise_for_status()


@pytest.fixture(scope="session")
def running_stripe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StripeServer]:
    """Run a server for all tests of this worker."""
    (port,) = free_ports(1)
    log: Path = tmp_path_factory.mktemp("stripe") / "localstripe.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_listens(process, port, log)
        yield StripeServer(port)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def stripe_server(running_stripe_server: StripeServer) -> StripeServer:
    """Return the server of this worker without data."""
    running_stripe_server.reset()
    return running_stripe_server


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"localstripe ended: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"localstripe does not listen: {log.read_text()}")
