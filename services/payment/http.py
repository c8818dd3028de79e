"""HTTP endpoint of the payment service: passes webhooks of the card processor on to ProcessWebhook, unread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from mesh.serving.http_requests import router_of
from solo60.payment.v1.payment_pb2 import ProcessWebhookRequest
from solo60.payment.v1.payment_pb2_grpc import PaymentServiceStub

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import Router

    from mesh.serving.service import Runtime


def http_app(runtime: Runtime) -> Router:
    """Return the application with the webhook endpoint.

    The endpoint calls the service over a stub, so that the policy of ProcessWebhook applies. Any error makes the card
    processor deliver the webhook again: 400 for a wrong signature, 503 or 504 while a part of the mesh is down.
    """
    payments = runtime.channels.stub(PaymentServiceStub)

    async def process(request: Request) -> Response:
        signature = request.headers.get("stripe-signature", "")
        await payments.ProcessWebhook(ProcessWebhookRequest(payload=await request.body(), signature=signature))
        return Response()

    return router_of(Route("/webhooks/stripe", process, methods=["POST"]))
