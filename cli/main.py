"""The command line: every verb in one app, and every failure as a sentence and an exit code."""

from __future__ import annotations

import atexit
import gc
import sys
from pkgutil import resolve_name
from typing import NoReturn

import typer

from cli.advice import print_advice
from cli.screen import print_service_error, remarks
from contracts.errors import ServiceError
from mesh.failure import Failure

EXIT_FAILED = 1

# Each verb and its function or group, in the order of the help.
VERBS = {
    "up": "cli.up:up",
    "restart": "cli.restart:restart",
    "health": "cli.health:health",
    "call": "cli.call:call",
    "inbox": "cli.inbox:inbox",
    "trace": "cli.trace:trace",
    "logs": "cli.logs:logs",
    "methods": "cli.methods:methods",
    "describe": "cli.methods:describe",
    "psql": "cli.psql:psql",
    "migrate": "cli.migrate:migrate",
    "doctor": "cli.doctor:doctor",
    "explain": "cli.explain:explain_method",
    "demo": "cli.demo:demo",
    "keys": "cli.keys:keys",
    "messages": "cli.messages:messages",
    "outbox": "cli.outbox:outbox",
}


def app_for(arguments: list[str]) -> typer.Typer:
    """Return the app with the verb that `arguments` begin with, or with every verb if they begin with none.

    The modules of one verb are imported in two thirds of the time that all modules take.
    """
    app = typer.Typer(
        help="Runs the Solo60 mesh and talks to it.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # Without a callback, Typer takes an app with one command for that command.
    app.callback()(lambda: None)
    for verb in VERBS.keys() & set(arguments[:1]) or VERBS:
        command = resolve_name(VERBS[verb])
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
        else:
            app.command(verb)(command)
    return app


def main() -> NoReturn:
    """Run one verb; exit with 0 when it did what was asked, with 2 for a bad setting, with 1 otherwise."""
    # Python's search for garbage at exit takes 0.15 s and finds nothing that the end of the process would not free.
    atexit.register(gc.freeze)
    try:
        app_for(sys.argv[1:])()
    except ServiceError as error:
        print_service_error(error)
        print_advice(error)
    except Failure as error:
        _say(error)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        _say(f"{error.filename or 'The system says'}: {error.strerror}.")
    raise SystemExit(EXIT_FAILED)


def _say(error: Exception | str) -> None:
    remarks.print(str(error), style="red", markup=False)
