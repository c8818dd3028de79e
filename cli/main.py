"""Command line: one app with all verbs, and a message and an exit code for every failure."""

from __future__ import annotations

import atexit
import gc
import sys
from pkgutil import resolve_name
from typing import NoReturn

import typer

from cli.terminal import err, print_service_error
from contracts.errors import ServiceError
from mesh.failure import Failure
from mesh.loading import loading

EXIT_FAILED = 1
# Errors that are reported without a traceback.
FAILURES = (ServiceError, Failure, OSError)

# Resolved only after a failed call, because the import is slow.
ADVICE = "cli.advice:print_advice"
# The function or group of each verb, in the order of the help text.
VERBS = {
    "up": "cli.up:up",
    "restart": "cli.restart:restart",
    "relay": "cli.relay:relay",
    "now": "cli.now:now",
    "health": "cli.health:health",
    "call": "cli.call:call",
    "inbox": "cli.inbox:inbox",
    "trace": "cli.trace:trace",
    "journey": "cli.journey:journey",
    "logs": "cli.logs:logs",
    "methods": "cli.methods:methods",
    "describe": "cli.methods:describe",
    "psql": "cli.psql:psql",
    "migrate": "cli.migrate:migrate",
    "doctor": "cli.doctor:doctor",
    "explain": "cli.explain:explain_method",
    "graph": "cli.graph:graph",
    "traffic": "cli.traffic:traffic",
    "mcp": "cli.mcp_server:mcp",
    "erase": "cli.erase:erase",
    "seed": "cli.seed:seed",
    "demo": "cli.demos.commands:demo",
    "contracts": "cli.contracts:group",
    "clock": "cli.clock:clock",
    "keys": "cli.keys:keys",
    "mail": "cli.mail:mail",
    "messages": "cli.messages:messages",
    "outbox": "cli.outbox:outbox",
    "new": "cli.new:new",
}


def app_for(arguments: list[str]) -> typer.Typer:
    """Return an app with the verb that is the first argument, or with all verbs if the first argument is not a verb.

    Importing the modules of one verb takes two thirds of the time of importing all modules.
    """
    app = typer.Typer(
        help="Run, inspect and operate the Solo60 mesh.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    # Without a callback, Typer turns an app with a single command into that command.
    app.callback()(lambda: None)
    for verb in VERBS.keys() & set(arguments[:1]) or VERBS:
        with loading():
            command = resolve_name(VERBS[verb])
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
        else:
            app.command(verb)(command)
    return app


def main() -> NoReturn:
    """Run one verb. Exit with 0 on success, with 2 for an invalid setting, and with 1 for any other failure."""
    # Garbage collection at exit takes 0.15 s, and the end of the process frees the memory anyway.
    atexit.register(gc.freeze)
    try:
        app_for(sys.argv[1:])()
    except Exception as error:
        # Verbs with a task group raise a group of errors, usually of the same cause.
        exit_code = _report(_first_of(error))
        if exit_code is None:
            raise
        raise SystemExit(exit_code) from None
    raise SystemExit(EXIT_FAILED)


def _first_of(error: Exception) -> Exception:
    """Return the first error of a group that contains only failures, or else `error` itself."""
    if isinstance(error, ExceptionGroup) and error.split(FAILURES)[1] is None:
        return _first_of(error.exceptions[0])
    return error


def _report(error: Exception) -> int | None:
    """Print a failure and return the exit code, or None if `error` is a fault of the program."""
    if isinstance(error, ServiceError):
        print_service_error(error)
        resolve_name(ADVICE)(error)
    elif isinstance(error, Failure):
        _print_error(error)
        return error.exit_code
    elif isinstance(error, OSError):
        _print_error(f"{error.filename or 'System error'}: {error.strerror}.")
    else:
        return None
    return EXIT_FAILED


def _print_error(error: Exception | str) -> None:
    err.print(str(error), style="red", markup=False)
