"""HTTP endpoint of the subscription service: passes webhooks on to ProcessWebhook, unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from contracts.errors import InvalidRequest
from mesh.serving.http_requests import router_of
from solo60.subscription.v1.subscription_pb2 import (
    WEBHOOK_SCHEME_CARD_PROCESSOR,
    WEBHOOK_SCHEME_STANDARD,
    ProcessWebhookRequest,
)
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import Router

    from mesh.serving.service import Runtime
    from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceAsyncStub


def http_app(runtime: Runtime) -> Router:
    """Return the application with the webhook endpoints."""
    endpoint = WebhookEndpoint(runtime.channels.stub(SubscriptionServiceStub))
    return router_of(
        Route("/webhooks/stripe", endpoint.card_processor, methods=["POST"]),
        Route("/webhooks/standard", endpoint.standard, methods=["POST"]),
    )


class WebhookEndpoint:
    """Endpoints for webhooks. Each calls the service over a stub, so that the policy of ProcessWebhook applies.

    The response is 200 if the webhook is stored and has taken effect or is held. Any error makes the sender deliver the
    webhook again: 400 for a wrong signature, 503 or 504 while a part of the mesh is down.
    """

    def __init__(self, subscriptions: SubscriptionServiceAsyncStub) -> None:
        self._subscriptions = subscriptions

    async def card_processor(self, request: Request) -> Response:
        """Process a webhook that is signed in the card processor's own scheme."""
        return await self._process(
            ProcessWebhookRequest(
                scheme=WEBHOOK_SCHEME_CARD_PROCESSOR,
                payload=await request.body(),
                signature=_text(request, "stripe-signature"),
            )
        )

    async def standard(self, request: Request) -> Response:
        """Process a webhook of the Standard Webhooks scheme."""
        return await self._process(
            ProcessWebhookRequest(
                scheme=WEBHOOK_SCHEME_STANDARD,
                payload=await request.body(),
                webhook_id=_text(request, "webhook-id"),
                timestamp=_text(request, "webhook-timestamp"),
                signature=_text(request, "webhook-signature"),
            )
        )

    async def _process(self, webhook: ProcessWebhookRequest) -> Response:
        await self._subscriptions.ProcessWebhook(webhook)
        return Response()


def _text(request: Request, name: str) -> str:
    """Return a header, or "" if it is missing, which the contract rejects."""
    value: str = request.headers.get(name, "")
    if not value.isascii():
        raise InvalidRequest
    return value
