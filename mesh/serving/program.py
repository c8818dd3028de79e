"""Life of a process: settings, logs and traces, then its work until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import atexit
import gc
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from pydantic import SecretStr

from mesh.config import SettingsError, load_settings
from mesh.serving.event_loop import service_loop
from mesh.serving.huge_pages import use_huge_pages
from mesh.telemetry.exporting import exporting
from mesh.telemetry.foreign_output import leave_foreign_output_to_parent, log_foreign_output
from mesh.telemetry.setup import log_stream, set_up_logging
from mesh.telemetry.spans import make_span_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from mesh.config import Settings

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.stdlib.get_logger("solo60.process")


def run(
    name: str, work: Callable[[Settings], AbstractAsyncContextManager[object]], *, needs_database: bool = True
) -> None:
    """Run the context of `work` as the named process until SIGTERM or SIGINT.

    Exits with code 2 and one sentence if a setting is wrong. With STOP_WITH_PARENT, a process that needs a database
    waits for its URL.
    """

    def with_database(settings: Settings) -> AbstractAsyncContextManager[object]:
        if settings.stop_with_parent and needs_database:
            settings = settings.model_copy(update={"database_url": SecretStr(line_from_parent("DATABASE_URL"))})
        return work(settings)

    run_program(name, with_database)


def run_program(name: str, prepare: Callable[[Settings], AbstractAsyncContextManager[object]]) -> None:
    """Run the context that `prepare` returns, like `run`; `prepare` may wait for lines from the parent process."""
    # Garbage collection at exit takes 0.1 s and is useless, because the end of the process frees all memory.
    atexit.register(gc.freeze)
    try:
        settings = load_settings()
        if settings.span_dir is not None:
            make_span_folder(settings.span_dir)
        with _telemetry(settings, name):
            work = prepare(settings)
            if settings.huge_pages:
                use_huge_pages()
            with service_loop() as runner:
                runner.run(_run_until_stopped(work, stop_with_parent=settings.stop_with_parent))
            # The closed loop has removed its signal handlers. Ignore repeated signals: they must not kill a clean stop.
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the user who starts the process
        raise SystemExit(error.exit_code) from None


@contextmanager
def _telemetry(settings: Settings, name: str) -> Iterator[None]:
    """Set up logging, traces and metrics, and keep output that is not JSON out of the log.

    Raises SystemExit after an uncaught exception, which is logged.
    """
    lines = set_up_logging(settings, name, log_stream(settings))
    foreign = log_foreign_output(lines) if settings.log_fd is None else leave_foreign_output_to_parent()
    with exporting(settings, name, lines), foreign:
        try:
            yield
        except SettingsError:
            raise
        except Exception:  # noqa: BLE001 - the interpreter would do the same, but after the last export of log lines
            sys.excepthook(*sys.exc_info())
            raise SystemExit(1) from None


def line_from_parent(content: str) -> str:
    """Wait for a line of the parent process, such as the DATABASE_URL when the database is ready."""
    line = sys.stdin.readline().strip()
    if not line:
        raise SettingsError(f"STOP_WITH_PARENT: standard input closed before the {content} arrived.")
    return line


async def _run_until_stopped(work: AbstractAsyncContextManager[object], *, stop_with_parent: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    if stop_with_parent:
        loop.add_reader(sys.stdin, _stop_without_parent, stopping)
    async with work:
        await stopping.wait()
        _log.info("stopping")


def _stop_without_parent(stopping: asyncio.Event) -> None:
    # A closed pipe stays readable, so the callback would run again and again.
    asyncio.get_running_loop().remove_reader(sys.stdin)
    stopping.set()
