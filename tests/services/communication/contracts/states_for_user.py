"""States of the communication service in which the user service has expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from solo60.communication.v1.communication_pb2 import Recipient
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.requests import in_background

if TYPE_CHECKING:
    from tests.support.consumers import States
    from tests.support.serving import MeshForTests


async def an_unsent_mail(mesh: MeshForTests) -> dict[str, object]:
    """Store a mail to a new user, and return the id and the address. The tests have no mail server."""
    user_id = str(uuid4())
    recipient = Recipient(email=f"{uuid4().hex}@members.example", user_id=user_id)
    await mesh.stub(CommunicationServiceStub).SendEmailAsync(in_background(recipient=recipient))
    return {"user_id": user_id, "email": recipient.email}


STATES: States = {
    "an unsent mail to this address": an_unsent_mail,
    "an unsent mail to this user": an_unsent_mail,
}
