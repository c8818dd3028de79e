from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from local.keys import OPERATOR
from mesh.config import child_environment
from services.communication.app import SERVICE
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.faulty_mail_server import HANG_UP, UNKNOWN, FaultyMailServer
from tests.support.answers import Answer, stub_server
from tests.support.eventually import eventually
from tests.support.local_mesh import SOLO60

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.cli.conftest import Solo60
    from tests.support.serving import MeshForTests, Serve

PATH = "/solo60.communication.v1.CommunicationService/"
MESSAGE = pb.Message(
    message_id=str(UUID(int=1)),
    template_key="SPOT_AVAILABLE",
    status=pb.MESSAGE_STATUS_DEAD,
    attempts=1,
    last_error="The last attempt was interrupted.",
    email_message_id="<1@solo60.example>",
    may_have_been_sent=True,
)
MESSAGE.create_time.FromDatetime(datetime(2026, 3, 3, 18, tzinfo=UTC))
VARIABLES = dict.fromkeys(("member_name", "gym_name", "start_time", "end_time", "price"), "x")


@dataclass(frozen=True, slots=True)
class CommunicationMesh:
    """Communication service with its mail server, and the command line to control it."""

    mesh: MeshForTests
    faulty: FaultyMailServer

    @property
    def stub(self) -> CommunicationServiceAsyncStub:
        """Stub of the communication service."""
        return self.mesh.stub(CommunicationServiceStub)

    async def solo60(self, *arguments: str) -> tuple[int | None, str, str]:
        """Run a command as the operator; return exit code, standard output and standard error."""
        settings = self.mesh.settings.model_dump(include={"data_dir", "communication_service_url", "deadline_factor"})
        process = await asyncio.create_subprocess_exec(
            SOLO60,
            *arguments,
            env={**child_environment(**settings), "SERVICE_API_KEY": self.mesh.keys[OPERATOR]},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async def failed(self, answer: str, template_key: str) -> str:
        """Send a message, let the mail server reply with `answer`, and return the message's id once it is DEAD."""
        self.faulty.answers.append(answer)
        request = pb.SendEmailAsyncRequest(
            recipient=pb.Recipient(email="ada@example.org"), template_key=template_key, variables=VARIABLES
        )
        message_id = (await self.stub.SendEmailAsync(request)).message_id
        await self.reached(message_id, pb.MESSAGE_STATUS_DEAD)
        return message_id

    async def reached(self, message_id: str, status: pb.MessageStatus.ValueType) -> None:
        """Wait until a message has this status."""

        async def has_status() -> bool:
            answer = await self.stub.GetMessage(pb.GetMessageRequest(message_id=message_id))
            return answer.message.status == status

        await eventually(has_status)


@pytest.fixture
async def communication(serve: Serve) -> AsyncIterator[CommunicationMesh]:
    """Start the communication service and its mail server."""
    async with FaultyMailServer() as faulty:
        yield CommunicationMesh(await serve(SERVICE, smtp_url=faulty.url), faulty)


@pytest.mark.requirement("L2")
@pytest.mark.usefixtures("operator_key")
def test_failed_messages_are_listed_for_people_and_for_scripts(solo60: Solo60) -> None:
    """`messages list` shows each failed message with its last error, and how to get the next page."""
    page = pb.ListFailedMessagesResponse(messages=[MESSAGE], next_page_token="a_b")  # noqa: S106 - no secret
    with stub_server(os.environ["COMMUNICATION_SERVICE_URL"], {PATH + "ListFailedMessages": Answer(page)}):
        shown = solo60("messages", "list", "-n", "1")
        read = json.loads(solo60("messages", "list", "--json").out)

    assert shown.exit_code == 0
    assert " ".join(shown.out.splitlines()[1].split()) == (
        f"{MESSAGE.message_id} DEAD SPOT_AVAILABLE 1 2026-03-03 18:00:00 UTC {MESSAGE.last_error}"
    )
    assert "Next page: solo60 messages list -n 1 --page a_b\n" in shown.err
    assert [(each["message_id"], each["may_have_been_sent"]) for each in read["messages"]] == [
        (MESSAGE.message_id, True)
    ]
    assert read["next_page_token"] == "a_b"  # noqa: S105 - no secret


@pytest.mark.requirement("L2")
@pytest.mark.usefixtures("operator_key")
def test_a_message_is_shown_for_people_and_for_scripts(solo60: Solo60) -> None:
    """`messages show` prints the fields of a message, as text and as JSON."""
    answer = Answer(pb.GetMessageResponse(message=MESSAGE))
    with stub_server(os.environ["COMMUNICATION_SERVICE_URL"], {PATH + "GetMessage": answer}):
        shown = solo60("messages", "show", MESSAGE.message_id)
        read = json.loads(solo60("messages", "show", MESSAGE.message_id, "--json").out)

    assert shown.exit_code == 0
    assert f"message_id: {MESSAGE.message_id}\n" in shown.out
    assert "status: MESSAGE_STATUS_DEAD\n" in shown.out
    assert (read["status"], read["create_time"]) == ("MESSAGE_STATUS_DEAD", "2026-03-03T18:00:00Z")


@pytest.mark.usefixtures("operator_key")
def test_without_failed_messages_standard_output_is_empty(solo60: Solo60) -> None:
    """Without failed messages, `messages list` and `messages retry --all` succeed and say so on standard error.

    With `--json`, the list is an empty page on standard output.
    """
    answer = Answer(pb.ListFailedMessagesResponse())
    with stub_server(os.environ["COMMUNICATION_SERVICE_URL"], {PATH + "ListFailedMessages": answer}):
        shown = solo60("messages", "list")
        read = solo60("messages", "list", "--json")
        retried = solo60("messages", "retry", "--all")

    assert (shown.exit_code, shown.out) == (0, "")
    assert "No message has failed.\n" in shown.err
    assert (read.exit_code, json.loads(read.out)) == (0, {"messages": [], "next_page_token": ""})
    assert "No message has failed." not in read.err
    assert retried.exit_code == 0
    assert "0 messages queued.\n" in retried.err


@pytest.mark.parametrize("arguments", [(), (MESSAGE.message_id, "--all")])
def test_retry_needs_one_message_or_all(solo60: Solo60, arguments: tuple[str, ...]) -> None:
    """`messages retry` with neither an id nor `--all`, or with both, exits with 1 and one sentence."""
    done = solo60("messages", "retry", *arguments)

    assert (done.exit_code, done.out, done.err) == (1, "", "Give either a message ID or --all.\n")


async def test_retry_all_skips_messages_that_may_have_been_sent(communication: CommunicationMesh) -> None:
    """`messages retry --all` skips messages that may have been sent already. A retry by id sends such a message."""
    refused, other = [await communication.failed(UNKNOWN, "SESSION_BOOKED") for _ in range(2)]
    in_doubt = await communication.failed(HANG_UP, "SPOT_AVAILABLE")

    assert await communication.solo60("messages", "retry", refused) == (0, "", "1 message queued.\n")
    await communication.reached(refused, pb.MESSAGE_STATUS_SENT)
    left_alone = "Messages skipped because they may have been sent: 1.\n"
    assert await communication.solo60("messages", "retry", "--all") == (0, "", f"{left_alone}1 message queued.\n")
    await communication.reached(other, pb.MESSAGE_STATUS_SENT)
    assert await communication.solo60("messages", "retry", in_doubt) == (0, "", "1 message queued.\n")
    await communication.reached(in_doubt, pb.MESSAGE_STATUS_SENT)


async def test_a_sent_message_is_not_sent_again(communication: CommunicationMesh) -> None:
    """`messages retry` of a sent message exits with 1 and MESSAGE_NOT_RETRYABLE."""
    sent = await communication.failed(UNKNOWN, "SESSION_BOOKED")
    await communication.stub.RetryMessage(pb.RetryMessageRequest(message_id=sent))
    await communication.reached(sent, pb.MESSAGE_STATUS_SENT)

    code, out, err = await communication.solo60("messages", "retry", sent)

    assert (code, out) == (1, "")
    assert err.startswith("FAILED_PRECONDITION MESSAGE_NOT_RETRYABLE: ")
