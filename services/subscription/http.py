"""HTTP endpoint of the subscription service: passes webhooks on to ProcessWebhook, unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

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
    webhook again: 400 for a wrong or missing signature, 503 or 504 while a part of the mesh is down.
    """

    def __init__(self, subscriptions: SubscriptionServiceAsyncStub) -> None:
        self._subscriptions = subscriptions

    async def card_processor(self, request: Request) -> Response:
        """Process a webhook that is signed in the card processor's own scheme."""
        return await self._process(
            ProcessWebhookRequest(
                scheme=WEBHOOK_SCHEME_CARD_PROCESSOR,
                payload=await request.body(),
                signature=request.headers.get("stripe-signature", ""),
            )
        )

    async def standard(self, request: Request) -> Response:
        """Process a webhook of the Standard Webhooks scheme."""
        headers = request.headers
        return await self._process(
            ProcessWebhookRequest(
                scheme=WEBHOOK_SCHEME_STANDARD,
                payload=await request.body(),
                webhook_id=headers.get("webhook-id", ""),
                timestamp=headers.get("webhook-timestamp", ""),
                signature=headers.get("webhook-signature", ""),
            )
        )

    async def _process(self, webhook: ProcessWebhookRequest) -> Response:
        await self._subscriptions.ProcessWebhook(webhook)
        return Response()
