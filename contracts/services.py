"""The seven services: their contracts by short name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.method import Method, methods_of
from solo60.auth.v1 import auth_pb2
from solo60.communication.v1 import communication_pb2
from solo60.gym.v1 import gym_pb2
from solo60.mesh.v1 import outbox_pb2
from solo60.payment.v1 import payment_pb2
from solo60.session.v1 import session_pb2
from solo60.subscription.v1 import subscription_pb2
from solo60.user.v1 import user_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

SERVICES: dict[str, ServiceDescriptor] = {
    "auth": auth_pb2.DESCRIPTOR.services_by_name["AuthService"],
    "user": user_pb2.DESCRIPTOR.services_by_name["UserService"],
    "gym": gym_pb2.DESCRIPTOR.services_by_name["GymService"],
    "session": session_pb2.DESCRIPTOR.services_by_name["SessionService"],
    "payment": payment_pb2.DESCRIPTOR.services_by_name["PaymentService"],
    "subscription": subscription_pb2.DESCRIPTOR.services_by_name["SubscriptionService"],
    "communication": communication_pb2.DESCRIPTOR.services_by_name["CommunicationService"],
}
# Contracts of the mesh itself. A service with an outbox serves OutboxService in addition to its own contract.
MESH_SERVICES: tuple[ServiceDescriptor, ...] = (outbox_pb2.DESCRIPTOR.services_by_name["OutboxService"],)


def short_service_name(service: str) -> str:
    """Return the short name of a service: "gym" for "solo60.gym.v1.GymService"."""
    return service.split(".")[1]


def all_methods() -> dict[str, Method]:
    """Return every method of the seven services by full name ("package.Service/Method")."""
    return {method.full_name: method for service in SERVICES.values() for method in methods_of(service)}
