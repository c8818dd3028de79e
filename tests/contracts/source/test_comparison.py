from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.source.comparison import REPORTS, Finding, compare
from tests.support.compiled_contracts import compiled_contracts
from tests.support.sources import ROOT

if TYPE_CHECKING:
    from pathlib import Path

USER, USER_PROTO = "solo60.user.v1.UserService", "solo60/user/v1/user.proto"
IMPORTS = """
from contracts.errors import GymNotFound, Unavailable, UserNotFound
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.session.v1.events_pb2 import SessionBooked
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from solo60.subscription.v1.subscription_pb2_grpc import SubscriptionServiceStub
from solo60.user.v1.events_pb2 import UserErased, UserLeft
from solo60.user.v1.user_pb2_grpc import UserServiceStub
"""
# All that the contract of the user service declares.
DECLARED = """
async def erase(tx, users: UserServiceStub, auth: AuthServiceStub, sessions: SessionServiceStub):
    await tx.call_later(users.CompleteErasure, request)
    await tx.publish(UserLeft())
    await tx.publish(UserErased())
    await sessions.EraseAddress(request)
    await auth.EraseAddress(request)
async def erase_address(subscriptions: SubscriptionServiceStub, communication: CommunicationServiceStub):
    await subscriptions.EraseAddress(request)
    await communication.EraseAddress(request)
    raise UserNotFound
"""


def findings(folder: Path, source: str, service: str = USER) -> list[Finding]:
    """Return the findings for a service whose code is `source`, with IMPORTS in its first line."""
    (folder / "code.py").write_text("; ".join(IMPORTS.split("\n")[1:-1]) + "\n" + dedent(source).lstrip("\n"))
    return compare(compiled_contracts(), service, folder)


def line_in(proto: str, text: str, after: str) -> int:
    """Return the number of the first line with `text` behind the line with `after`."""
    lines = (ROOT / "proto" / proto).read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if after in line)
    return next(number for number, line in enumerate(lines, 1) if number > start and text in line)


def test_code_that_uses_what_its_contract_declares_has_no_findings(tmp_path: Path) -> None:
    """A service that makes exactly the declared calls and publishes exactly its events has no finding."""
    assert findings(tmp_path, DECLARED) == []


@pytest.mark.parametrize(
    ("code", "finding", "message"),
    [
        (
            "async def f(auth: AuthServiceStub): await auth.LogOut(request)",
            "CALL_UNDECLARED",
            f"solo60.auth.v1.AuthService/LogOut is called, but {USER} lists it in `calls` of no method: add it there.",
        ),
        (
            "async def f(tx, auth: AuthServiceStub): await tx.call_later(auth.LogOut, request)",
            "CALL_LATER_UNDECLARED",
            (
                f"solo60.auth.v1.AuthService/LogOut is called, but {USER} lists it in `calls_later` of no method: "
                "add it there."
            ),
        ),
        (
            "async def f(tx, auth: AuthServiceStub): await tx.call_later(auth.EraseAddress, request)",
            "CALL_LATER_UNDECLARED",
            (
                f"solo60.auth.v1.AuthService/EraseAddress is called, but {USER} lists it in `calls_later` of no "
                "method: add it there."
            ),
        ),
        (
            "async def f(auth: AuthServiceStub): schedule(auth.LogOut)",
            "REFERENCE_UNDECLARED",
            (
                f"solo60.auth.v1.AuthService/LogOut is called, but {USER} lists it in `calls` or `calls_later` of no "
                "method: add it there."
            ),
        ),
        (
            "async def f(auth): await auth.LogOut(request)",
            "CALL_UNRESOLVED",
            "cannot tell which service `auth.LogOut` belongs to: annotate the value with its stub class.",
        ),
        (
            "async def f(tx): await tx.publish(SessionBooked())",
            "EVENT_FOREIGN",
            (
                "solo60.session.v1.SessionBooked is published, but belongs to another package: publish an event of "
                "solo60.user.v1."
            ),
        ),
        (
            "async def f(tx): raise GymNotFound",
            "ERROR_UNDECLARED",
            f"GymNotFound is raised, but {USER} lists ERROR_REASON_GYM_NOT_FOUND in `errors` of no method.",
        ),
    ],
)
def test_a_use_that_no_contract_declares_is_found(tmp_path: Path, code: str, finding: str, message: str) -> None:
    """A use that the service's contract does not declare is found, with the line of the code and what to change."""
    source = f"{DECLARED}{code}\n"

    assert findings(tmp_path, source) == [
        Finding(finding, message, str(tmp_path / "code.py"), len(DECLARED.splitlines()) + 1)
    ]


@pytest.mark.parametrize(
    ("line", "finding", "message", "option", "after"),
    [
        (
            "    await auth.EraseAddress(request)\n",
            "CALL_UNUSED",
            (
                "`calls` of CompleteErasure lists solo60.auth.v1.AuthService/EraseAddress, but no code calls it: "
                "remove it."
            ),
            "calls: [",
            "rpc CompleteErasure",
        ),
        (
            "    await tx.call_later(users.CompleteErasure, request)\n",
            "CALL_LATER_UNUSED",
            f"`calls_later` of EraseUser lists {USER}/CompleteErasure, but no code calls it: remove it.",
            "calls_later: [",
            "rpc EraseUser",
        ),
    ],
)
def test_a_dead_declaration_is_found(
    tmp_path: Path, line: str, finding: str, message: str, option: str, after: str
) -> None:
    """A call that the contract lists but no code makes is found, with the line of the option in the contract."""
    assert line in DECLARED

    found = findings(tmp_path, DECLARED.replace(line, ""))

    assert found == [Finding(finding, message, USER_PROTO, line_in(USER_PROTO, option, after))]


def test_an_event_that_no_code_publishes_is_found(tmp_path: Path) -> None:
    """An event of the service's package that no code creates is found, with its line in the contract."""
    proto = "solo60/user/v1/events.proto"

    found = findings(tmp_path, DECLARED.replace("    await tx.publish(UserErased())\n", ""))

    message = "solo60.user.v1.UserErased is published by no code of its service."
    assert found == [Finding("EVENT_UNUSED", message, proto, line_in(proto, "message UserErased", "package"))]


def test_an_event_without_subscribers_is_reported(tmp_path: Path) -> None:
    """A published event without a subscriber is a report, because a subscriber may follow later."""
    code = "async def f(tx): await tx.publish(SessionBooked())\n"

    found = [each for each in findings(tmp_path, code, "solo60.session.v1.SessionService") if each.line == 2]

    message = "solo60.session.v1.SessionBooked has no subscriber."
    assert found == [Finding("EVENT_WITHOUT_SUBSCRIBER", message, str(tmp_path / "code.py"), 2)]
    assert found[0].id in REPORTS


def test_calls_of_an_http_endpoint_need_no_calls_option(tmp_path: Path) -> None:
    """The calls of an HTTP endpoint are declared in `http_calls` of the service, and found there if they are dead."""
    service = "solo60.communication.v1.CommunicationService"
    code = "async def f(communication: CommunicationServiceStub): await communication.Unsubscribe(request)\n"

    assert findings(tmp_path, code, service) == []

    proto = "solo60/communication/v1/communication.proto"
    message = f"`http_calls` of CommunicationService lists {service}/Unsubscribe, but no code calls it: remove it."
    assert findings(tmp_path, "", service) == [
        Finding("HTTP_CALL_UNUSED", message, proto, line_in(proto, "http_calls", "service "))
    ]


OTHERS = """
    name: "acme/shop/shop-desk.proto" package: "acme.shop"
    service {
      name: "Desk"
      method {
        name: "Sell" input_type: ".acme.shop.Sale" output_type: ".acme.shop.Sale"
        options { [solo60.mesh.v1.policy] { calls: "acme.shop.Till/Open" } }
      }
    }
    service { name: "Till" method { name: "Open" options { [solo60.mesh.v1.policy] {} } } method { name: "Close" } }
    service { name: "Light" method { name: "Switch" } }
"""


def test_contracts_of_other_teams_are_compared(tmp_path: Path) -> None:
    """Any contracts can be compared, also without source info; calls of methods without policies need no option."""
    (tmp_path / "desk.py").write_text(
        "from generated.acme.shop.shop_desk_pb2_grpc import LightStub, TillAsyncStub\n"
        "async def sell(till: TillAsyncStub, light: LightStub):\n"
        "    await light.Switch(request)\n"
        "    await till.Close(request)\n"
    )

    found = compare([text_format.Parse(OTHERS, FileDescriptorProto())], "acme.shop.Desk", tmp_path)

    assert [(each.id, each.file, each.line) for each in found] == [
        ("CALL_UNDECLARED", str(tmp_path / "desk.py"), 4),
        ("CALL_UNUSED", "acme/shop/shop-desk.proto", 0),
    ]
