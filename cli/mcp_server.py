"""`solo60 mcp`: the mesh as tools of the Model Context Protocol, over standard input and output."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from cli.operator import operator_settings
from cli.terminal import CommandError


def mcp(
    *,
    allow_actions: Annotated[
        bool,
        typer.Option("--allow-actions", help="Allow calls that change data, and retry, drop and replay of messages."),
    ] = False,
) -> None:
    """Serve tools to list, explain and call methods, and to read health, traces, logs and outboxes.

    For a client such as an editor: it starts this command and talks to it over standard input and output. Personal data
    in answers is masked.
    """
    if find_spec("mcp") is None:
        raise CommandError("`solo60 mcp` needs more packages: pip install 'solo60-mesh[mcp]'.")
    from mcp.server import MCPServer  # noqa: PLC0415 - an extra, which no other command needs

    from cli.mcp_tools import MeshTools  # noqa: PLC0415 - likewise

    tools = MeshTools(operator_settings(), allow_actions=allow_actions)
    server = MCPServer("solo60", instructions=MeshTools.__doc__, log_level="WARNING", lifespan=tools.open)
    tools.add_to(server)
    server.run("stdio")
