"""`solo60 up`: the whole mesh on this machine, until Ctrl-C."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Annotated

import typer

from local.forking import CannotFork, ForkServer
from mesh.loading import loading


def up(
    *,
    demo: Annotated[bool, typer.Option("--demo", help="Book a session once the mesh is up.")] = False,
    clock: Annotated[
        bool, typer.Option("--clock", help="Let `solo60 clock advance` move the time of this mesh.")
    ] = False,
    no_console: Annotated[bool, typer.Option("--no-console", help="Do not start the console.")] = False,
    one_process: Annotated[
        bool, typer.Option("--one-process", help="Run all services in one process, which needs less memory.")
    ] = False,
    no_restart: Annotated[
        bool, typer.Option("--no-restart", help="Report parts that exit unexpectedly, without restarting them.")
    ] = False,
) -> None:
    """Start PostgreSQL, a mail sink and the services. Ctrl-C stops all of them in order.

    A part that exits unexpectedly is reported and restarted, after a pause that grows with each exit.
    """
    exit_code = 0
    # Ctrl-C ends the mesh. This is its usual end too before the mesh handles signals, while the code is loaded.
    with suppress(KeyboardInterrupt), _fork_server(needed=not one_process) as server:
        # The fork server starts at the same time as these imports, which take as long.
        with loading():
            from cli.running_mesh import run_mesh  # noqa: PLC0415
        exit_code = run_mesh(
            server, demo=demo, clock=clock, console=not no_console, one_process=one_process, restarts=not no_restart
        )
    raise typer.Exit(exit_code)


def _fork_server(*, needed: bool) -> ForkServer | nullcontext[None]:
    """Start a fork server if it is needed and the system supports it."""
    try:
        return ForkServer() if needed else nullcontext()
    except CannotFork:  # the mesh tries again, and reports the reason
        return nullcontext()
