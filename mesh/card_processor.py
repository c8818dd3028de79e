"""Client of the card processor, Stripe, by its official SDK.

    async with open_card_processor(settings, runtime.troubles) as processor:
        intent = await processor.ask(processor.v1.payment_intents.create_async(params, {"idempotency_key": key}))

Loading the SDK takes 0.2 s and 30 MB, so a service imports this module only if STRIPE_API_KEY is set.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

import httpx
import stripe
import structlog

from contracts.errors import CardDeclined, Unavailable
from interceptors.context import current_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from mesh.config import Settings

Answer = TypeVar("Answer")

# Version of Stripe's API that the services use. The SDK has the types of the newest version.
API_VERSION = "2024-06-20"
# Below 5 s, the shortest deadline of a method that uses cards, so that a slow card processor is reported as such.
MAX_WAIT_S = 4.0
# Time that the caller of the processor has left to record an outcome, or to answer that it is unknown.
RESERVED_S = 0.5
CONNECT_TIMEOUT_S = 2.0
_KEY_REJECTED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
KEY_TROUBLE = "the card processor rejects STRIPE_API_KEY"

# By default the SDK sends measurements of the previous request, and stores an id in the home folder.
stripe.enable_telemetry = False
# These libraries log each request and the text of each error, which may repeat the token of a card.
for library in ("stripe", "httpx", "httpcore"):
    logging.getLogger(library).setLevel(logging.WARNING)

_log = structlog.stdlib.get_logger("solo60.card_processor")


class RequestRejected(Exception):
    """The card processor rejected a request as invalid, and did nothing. The same request would be rejected again.

    `code` and `parameter` are those of Stripe's error, or empty. `status` is the HTTP status.
    """

    def __init__(self, code: str, parameter: str, status: int) -> None:
        super().__init__(f"the card processor rejected the request: {status} {code} {parameter}".rstrip())
        self.code = code
        self.parameter = parameter
        self.status = status


class CardProcessorClient:
    """Client of the card processor. It never repeats a request by itself."""

    def __init__(self, client: stripe.StripeClient, troubles: set[str]) -> None:
        self.v1 = client.v1
        self._troubles = troubles

    async def ask(self, request: Awaitable[Answer]) -> Answer:
        """Return the answer to one request, such as `self.v1.refunds.create_async(...)`.

        Raises CardDeclined if the card is declined, and RequestRejected if the request is invalid. Raises Unavailable
        after any other failure: the outcome is then unknown, and the request must be repeated with the same
        idempotency key. A rejected key is also a trouble in the service's health until the next answer.
        """
        try:
            async with asyncio.timeout(_time_left_s()):
                answer = await request
        except (TimeoutError, stripe.StripeError) as error:
            status = getattr(error, "http_status", None)
            if status is not None:  # without an answer, the key may still be wrong
                self._show_key_trouble(is_rejected=status in _KEY_REJECTED)
            # Without the cause, because its text may repeat the request.
            raise _translated(error) from None
        self._show_key_trouble(is_rejected=False)
        return answer

    def _show_key_trouble(self, *, is_rejected: bool) -> None:
        if not is_rejected:
            self._troubles.discard(KEY_TROUBLE)
        elif KEY_TROUBLE not in self._troubles:
            self._troubles.add(KEY_TROUBLE)
            _log.error(KEY_TROUBLE, remedy="Set STRIPE_API_KEY to a valid key of the account, and restart the service.")


def _time_left_s() -> float:
    context = current_context()
    if context is None or context.deadline is None:
        return MAX_WAIT_S
    return min(MAX_WAIT_S, context.deadline - time.monotonic() - RESERVED_S)


def _translated(error: TimeoutError | stripe.StripeError) -> Exception:
    if isinstance(error, stripe.CardError):
        return CardDeclined()
    if isinstance(error, (stripe.InvalidRequestError, stripe.IdempotencyError)):
        parameter = error.param if isinstance(error, stripe.InvalidRequestError) else None
        return RequestRejected(error.code or "", parameter or "", error.http_status or HTTPStatus.BAD_REQUEST)
    _log.warning("card processor unavailable", error=type(error).__name__, status=getattr(error, "http_status", None))
    return Unavailable("The card processor does not answer.")


class _Transport(stripe.HTTPClient):
    """HTTP transport for the SDK, because the SDK's own one always uses the proxy variables of the environment."""

    name = "httpx"

    def __init__(self, *, through_proxy: bool) -> None:
        super().__init__()
        # The certificates of the system, for a company's proxy, and those of the SDK, for a system without any.
        certificates = ssl.create_default_context()
        certificates.load_verify_locations(stripe.ca_bundle_path)
        timeout = httpx.Timeout(MAX_WAIT_S, connect=CONNECT_TIMEOUT_S)
        self._client = httpx.AsyncClient(verify=certificates, timeout=timeout, trust_env=through_proxy)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | bytes | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            response = await self._client.request(method, url, headers=headers, content=post_data)
        except httpx.HTTPError as error:
            # The SDK's class has no types.
            raise stripe.APIConnectionError(type(error).__name__) from error  # type: ignore[no-untyped-call]
        return response.content, response.status_code, response.headers

    async def close_async(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def open_card_processor(settings: Settings, troubles: set[str]) -> AsyncIterator[CardProcessorClient]:
    """Yield a client of the card processor of STRIPE_API_URL with the key STRIPE_API_KEY, which must be set."""
    key = settings.stripe_api_key
    if key is None:
        raise ValueError("STRIPE_API_KEY is not set")
    transport = _Transport(through_proxy=settings.calls_through_proxy)
    try:
        yield CardProcessorClient(
            stripe.StripeClient(
                key.get_secret_value(),
                base_addresses={"api": settings.stripe_api_url},
                stripe_version=API_VERSION,
                max_network_retries=0,
                http_client=transport,
            ),
            troubles,
        )
    finally:
        await transport.close_async()
