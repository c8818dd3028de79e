"""Run of the whole mesh on this machine, until Ctrl-C, with its output."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

from cli.health import health_table
from cli.terminal import CommandError, err, out, print_service_error
from contracts.errors import ServiceError
from local.held_ports import user_of_port
from local.monitor import Monitor, Tone
from local.movable_clock import is_ahead, with_movable_clock
from local.parts import CONSOLE
from local.supervised_settings import METRICS_PORT_DISTANCE
from local.supervisor import Mesh
from mesh.config import load_settings
from mesh.serving.health_probe import SERVING
from operations.health.report import health_of_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.forking import ForkServer


STYLES = {Tone.TROUBLE: "red", Tone.RECOVERY: "green"}
NEXT_STEPS = """
Try in another shell, after `. .venv/bin/activate`:
  solo60 health
  solo60 demo booking
  solo60 call gym.ListGyms '{"page_size": 3}'
  solo60 inbox
Logs are in %s. Metrics are at /metrics on each service's port plus %d. Ctrl-C stops everything."""

CONSOLE_STEP = """
The console shows this mesh: http://%s/"""

CLOCK_STEP = """
The time of this mesh can be moved, for example by a week: solo60 clock advance 7d"""
EARLIER_CLOCK = (
    "The clock of this mesh was moved before. `solo60 up --clock` continues with that time; `make reset` deletes the "
    "mesh's data."
)


def run_mesh(
    fork_server: ForkServer | None, *, demo: bool, clock: bool, console: bool, one_process: bool, restarts: bool
) -> int:
    """Run a mesh until Ctrl-C; return the exit code."""
    settings = load_settings()
    if clock:
        settings = with_movable_clock(settings)
    elif settings.clock_file is None and is_ahead(settings):
        err.print(EARLIER_CLOCK, style="yellow", markup=False)
    mesh = partial(Mesh, settings, fork_server=fork_server, with_console=console, in_one_process=one_process)
    return asyncio.run(_run_until_signal(_Run(mesh, demo=demo, restarts=restarts)))


async def _run_until_signal(run: _Run) -> int:
    """Run the mesh until SIGINT, SIGTERM or SIGHUP; return the exit code."""
    running = asyncio.create_task(run.run_until_cancelled())
    received: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        # Ignore further signals, so that a second Ctrl-C cannot interrupt a clean stop.
        if not received:
            running.cancel()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await running
    except asyncio.CancelledError:
        if not received:
            raise
    return run.exit_code


class _Run:
    """One run of the mesh. Its exit code is 0 unless the demo, or a service after the start, failed."""

    def __init__(self, make_mesh: Callable[..., Mesh], *, demo: bool, restarts: bool) -> None:
        self.exit_code = 0
        self._is_up = False
        self._demo = demo
        self._mesh = make_mesh(report=self._report)
        self._settings = self._mesh.settings
        self._monitor = Monitor(self._mesh, self._notify, restarts=restarts)
        self._show: Callable[[str, str], None] = lambda _part, _state: None

    def _report(self, part: str, state: str) -> None:
        with suppress(OSError):  # if the output is a file, a full disk must not stop the mesh
            self._show(part, state)

    def _notify(self, sentence: str, tone: Tone) -> None:
        with suppress(OSError):  # as in `_report`
            err.print(sentence, style=STYLES[tone], markup=False)

    async def run_until_cancelled(self) -> None:
        try:
            with _progress() as self._show:
                await self._mesh.start()
            self._is_up = True
            self._show = lambda part, state: out.print(f"{part}: {state}", markup=False)
            out.print(health_table(await health_of_all(self._settings)), "", sep="\n")
            for name in self._mesh.without_metrics():
                err.print(self._why_no_metrics(name), style="yellow", markup=False)
            if self._demo:
                self.exit_code = await self._run_demo()
            if self._settings.clock_file is not None:
                out.print(CLOCK_STEP, markup=False)
            if CONSOLE in self._mesh.parts():
                out.print(CONSOLE_STEP % self._settings.console_listen_address, markup=False)
            elif self._mesh.console_problem:
                err.print(self._mesh.console_problem, style="yellow", markup=False)
            out.print(NEXT_STEPS % (self._settings.log_folder, METRICS_PORT_DISTANCE), markup=False)
            await self._monitor.run()
        except asyncio.CancelledError:
            err.print("stopping")
            raise
        finally:
            await self._stop()

    async def _run_demo(self) -> int:
        # Imported only for --demo, because these imports take a third as long as all others.
        from cli.demos.booking import booking  # noqa: PLC0415
        from cli.demos.commands import tell  # noqa: PLC0415
        from cli.demos.printing import StoryPrinter  # noqa: PLC0415

        try:
            await tell(booking, StoryPrinter().print)
        except ServiceError as error:
            print_service_error(error)
            return 1
        except CommandError as error:
            err.print(str(error), style="red", markup=False)
            return 1
        return 0

    def _why_no_metrics(self, name: str) -> str:
        port = int(self._settings.listen_address_of(name).rpartition(":")[2]) + METRICS_PORT_DISTANCE
        return f"{name} exposes no metrics: its port plus {METRICS_PORT_DISTANCE} is in use by {user_of_port(port)}."

    async def _stop(self) -> None:
        await self._mesh.stop()
        for name, code in self._mesh.exit_codes.items():
            # A service that is stopped while it starts ends by the signal.
            if self._is_up and code != 0:
                err.print(f"{name} ended with exit code {code}.", style="red")
                self.exit_code = 1


@contextmanager
def _progress() -> Iterator[Callable[[str, str], None]]:
    """Yield a function that shows the state of a part: live on a terminal, otherwise as a line."""
    began = time.monotonic()
    if not out.is_terminal:
        yield lambda part, state: out.print(f"{time.monotonic() - began:5.2f} s  {part}: {state}", markup=False)
        return
    states: dict[str, str] = {}
    with Live(console=out, transient=True) as live:

        def show(part: str, state: str) -> None:
            states[part] = state if state != SERVING else f"[green]{SERVING}[/]"
            table = Table(box=None, show_header=False, pad_edge=False)
            for each in states.items():
                table.add_row(*each)
            live.update(table)

        yield show
    out.print(f"All {len(states)} parts are up after {time.monotonic() - began:.1f} s.\n", markup=False)
