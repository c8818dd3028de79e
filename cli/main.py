"""The command line: every verb in one app, and every failure as a sentence and an exit code."""

from __future__ import annotations

import atexit
import gc
from typing import NoReturn

import typer

from cli.advice import print_advice
from cli.call import call
from cli.demo import demo
from cli.doctor import doctor
from cli.explain import explain_method
from cli.health import health
from cli.inbox import inbox
from cli.keys import keys
from cli.logs import logs
from cli.messages import messages
from cli.methods import describe, methods
from cli.migrate import migrate
from cli.outbox import outbox
from cli.psql import psql
from cli.restart import restart
from cli.screen import CommandError, print_service_error, remarks
from cli.trace import trace
from cli.up import up
from contracts.errors import ServiceError
from mesh.config import SettingsError
from mesh.control import ControlError
from mesh.folder_lock import FolderInUse
from mesh.inbox import InboxError
from mesh.migrations import MigrationError
from mesh.orphans import OrphansRemain
from mesh.postgres import PostgresError
from mesh.supervisor import MeshError

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2

app = typer.Typer(
    help="Runs the Solo60 mesh and talks to it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (up, restart, health, call, inbox, trace, logs, methods, describe, psql, migrate, doctor):
    app.command()(verb)
app.command("explain")(explain_method)
app.add_typer(demo, name="demo")
app.add_typer(keys, name="keys")
app.add_typer(messages, name="messages")
app.add_typer(outbox, name="outbox")


def main() -> NoReturn:
    """Run one verb; exit with 0 when it did what was asked, with 2 for a bad setting, with 1 otherwise."""
    # Python's search for garbage at exit takes 0.15 s and finds nothing that the end of the process would not free.
    atexit.register(gc.freeze)
    try:
        app()
    except ServiceError as error:
        print_service_error(error)
        print_advice(error)
    except (SettingsError, FolderInUse, OrphansRemain) as error:
        _say(error)
        raise SystemExit(EXIT_BAD_SETTINGS) from None
    except (CommandError, ControlError, InboxError, MeshError, MigrationError, PostgresError) as error:
        _say(error)
    except OSError as error:
        _say(f"{error.filename or 'The system says'}: {error.strerror}.")
    raise SystemExit(EXIT_FAILED)


def _say(error: Exception | str) -> None:
    remarks.print(str(error), style="red", markup=False)
