"""`solo60 mcp`, as its clients use it: the official client starts the command and talks to it over pipes."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from mesh.config import child_environment
from tests.support.eventually import eventually
from tests.support.local_mesh import SOLO60

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.local_mesh import LocalMesh

pytestmark = pytest.mark.system

READING = {
    "list_methods",
    "explain",
    "health",
    "call",
    "traces",
    "trace",
    "logs",
    "outbox",
    "outbox_message",
}
ACTING = {"retry_message", "drop_message", "replay_message"}


class Client:
    """Client of one `solo60 mcp`."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session

    async def use(self, tool: str, **arguments: object) -> Any:
        """Return the result of a tool; fail if it is an error."""
        result = await self.session.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content.get("result", result.structured_content)

    async def refusal(self, tool: str, **arguments: object) -> str:
        """Return the message of a tool's error."""
        result = await self.session.call_tool(tool, arguments)
        assert result.is_error, result.content
        text = str(result.content[0].text)  # type: ignore[union-attr]  # an error is text
        return text.removeprefix(f"Error executing tool {tool}: ")


@asynccontextmanager
async def client_of(mesh: LocalMesh, *options: str) -> AsyncIterator[Client]:
    """Start `solo60 mcp` for a mesh."""
    server = StdioServerParameters(
        command=str(SOLO60), args=["mcp", *options], env=child_environment(**mesh.settings_by_name)
    )
    async with stdio_client(server) as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        yield Client(session)


async def test_reading_tools_show_the_mesh(local_mesh: LocalMesh) -> None:
    """The tools list, explain and call methods, and find the trace and the log lines of a call."""
    async with client_of(local_mesh) as client:
        tools = (await client.session.list_tools()).tools
        assert {tool.name for tool in tools} == READING
        assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)

        assert "gym.GetGym" in {each["name"] for each in await client.use("list_methods", service="gym")}
        explained = await client.use("explain", method="gym.GetGym")
        assert explained["request"]["fields"][0]["path"] == "gym_id"
        assert {fact["name"] for fact in explained["policy"]} >= {"deadline", "scopes"}
        assert {entry["status"] for entry in (await client.use("health")).values()} == {"SERVING"}

        called = await client.use("call", method="gym.ListGyms", request={"page_size": 1})
        assert called["duration_ms"] > 0

        async def is_stored() -> bool:
            result = await client.session.call_tool("trace", {"id": called["trace_id"]})
            return all(f'"{name}"' in str(result.content) for name in ("solo60", "gym"))

        await eventually(is_stored)
        spans = await client.use("trace", id=called["trace_id"])
        assert {span["service"] for span in spans} >= {"solo60", "gym"}
        [latest] = await client.use("traces", method="gym.ListGyms", number=1)
        assert latest["trace_id"] == called["trace_id"]
        correlation_id = next(span["correlation_id"] for span in spans if span["correlation_id"])
        lines = await client.use("logs", service="gym", correlation_id=correlation_id)
        assert [line["code"] for line in lines] == ["OK"]
        assert set(await client.use("outbox", number=1)) >= {"session", "payment"}


async def test_without_permission_nothing_changes(local_mesh: LocalMesh) -> None:
    """A method that may change data is refused, and the tools that act are not offered."""
    async with client_of(local_mesh) as client:
        refusal = await client.refusal("call", method="gym.CreateGym", request={})

        assert refusal == "gym.CreateGym may change data. `solo60 mcp --allow-actions` allows such calls."
        assert "Unknown tool" in await client.refusal("retry_message", service="session", message_id="x")


async def test_with_permission_methods_may_change_data(local_mesh: LocalMesh) -> None:
    """With --allow-actions, a call changes data, and its answer masks personal data."""
    mail = "mcp@solo60.example"
    async with client_of(local_mesh, "--allow-actions") as client:
        tools = {tool.name: tool.annotations for tool in (await client.session.list_tools()).tools}
        created = await client.use("call", method="user.CreateUser", request={"email": mail, "display_name": "Mia"})
        unknown = "00000000-0000-4000-8000-000000000000"
        refused = json.loads(await client.refusal("retry_message", service="session", message_id=unknown))

    assert set(tools) == READING | ACTING
    assert not tools["call"].read_only_hint  # type: ignore[union-attr]  # it has annotations
    assert created["answer"]["user"]["email"] == "***"
    assert mail not in json.dumps(created)
    assert refused["error"]["reason"] == "OUTBOX_MESSAGE_NOT_FOUND"


BAD_INPUT: tuple[tuple[str, dict[str, object], str], ...] = (
    ("explain", {"method": "gym.GetGim"}, 'There is no method "gym.GetGim". Did you mean gym.GetGym'),
    ("list_methods", {"service": "gmy"}, '"gmy" is not a service. Services: auth, '),
    ("call", {"method": "gym.GetGym", "request": {"gymid": 1}}, 'no field named "gymid"'),
    ("call", {"method": "gym.GetGym", "request": {"gym_id": "x"}}, '"field": "gym_id"'),
    ("trace", {"id": "ff"}, 'There is no trace "ff".'),
    ("logs", {"service": "gmy"}, '"gmy" is not a service.'),
    ("outbox", {"status": "lost"}, 'status: "lost" is not one of pending, delivered, dead.'),
    ("traces", {"number": "many"}, "number"),
)


async def test_bad_input_is_refused_with_its_reason(local_mesh: LocalMesh) -> None:
    """Each error names the argument or the field, and what is wrong with it."""
    async with client_of(local_mesh) as client:
        refusals = [await client.refusal(tool, **arguments) for tool, arguments, _ in BAD_INPUT]

    missing = [
        (sentence, text) for (_, _, sentence), text in zip(BAD_INPUT, refusals, strict=True) if sentence not in text
    ]
    assert not missing


async def test_a_stream_ends_after_its_first_messages(local_mesh: LocalMesh) -> None:
    """An endless stream is read for a few seconds."""
    async with client_of(local_mesh, "--allow-actions") as client:
        example = (await client.use("explain", method="gym.CreateGym"))["request"]["example"]
        gym_id = (await client.use("call", method="gym.CreateGym", request=example))["answer"]["gym"]["gym_id"]
        request = (await client.use("explain", method="session.WatchAvailability"))["request"]["example"]
        seen = await client.use("call", method="session.WatchAvailability", request={**request, "gym_id": gym_id})

    assert len(seen["messages"]) == 1
