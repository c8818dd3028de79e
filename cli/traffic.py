"""`solo60 traffic`: the calls of each caller to each method, with rate, errors, durations and breaker."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.terminal import CommandError, JsonFlag, MethodOrService, out, print_json, print_table
from contracts.names import short_name
from contracts.services import SERVICE_NAMES
from mesh.config import load_settings
from operations.contracts.method_names import UnknownMethod, find_by_name
from operations.metrics.reader import TrafficReader
from operations.metrics.tally import is_failing
from operations.metrics.texts import duration_ms_text, kinds_text, rate_text, share_text
from operations.metrics.window import WINDOW_S

if TYPE_CHECKING:
    from mesh.config import Settings
    from operations.metrics.traffic import Traffic, TrafficEdge

# A reading at the end of the window must still share it with the first one.
MAX_SECONDS = WINDOW_S - 5


def traffic(
    name: MethodOrService = None,
    seconds: Annotated[
        float, typer.Option("--for", metavar="SECONDS", min=0.1, max=MAX_SECONDS, help="Length of the measurement.")
    ] = 5.0,
    *,
    every_edge: Annotated[bool, typer.Option("--all", help="Also show declared calls without traffic.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure the calls between services, and from outside, for some seconds.

    Reads the Prometheus pages of all services twice. METRICS_URLS names the pages of services elsewhere.
    """
    service, method = _find(name)
    found = asyncio.run(_measure(load_settings(), seconds))
    edges = [edge for edge in found.edges_of(service, method) if every_edge or edge.is_busy]
    if as_json:
        services = {each: asdict(of) for each, of in found.services.items() if service in ("", each) and not method}
        print_json({"window_s": found.window_s, "edges": list(map(asdict, edges)), "services": services})
    else:
        _print(found, edges)
    if all(each.problem for each in found.services.values()):
        raise typer.Exit(1)


def _find(name: str | None) -> tuple[str, str]:
    """Return the service and the method of a name, each empty if the name is not one of them."""
    if name is None or name in SERVICE_NAMES:
        return name or "", ""
    try:
        return "", find_by_name(name).full_name
    except UnknownMethod as error:
        if "." in name or "/" in name:
            raise
        raise CommandError(f"{error} Services: {', '.join(SERVICE_NAMES)}.") from None


async def _measure(settings: Settings, seconds: float) -> Traffic:
    reader = TrafficReader(settings)
    await reader.read()
    await asyncio.sleep(seconds)
    return await reader.read()


def _print(found: Traffic, edges: list[TrafficEdge]) -> None:
    table = Table("caller", "method", "kind", box=None, pad_edge=False)
    for heading in ("calls", "errors", "p50", "p99", "in flight"):
        table.add_column(heading, justify="right")
    table.add_column("breaker")
    for edge in edges:
        table.add_row(*_cells(edge))
    if edges:
        print_table(table)
    else:
        out.print(f"No calls within {found.window_s:.1f} s. The option --all shows the declared calls.")
    for name, each in found.services.items():
        if each.problem:
            out.print(f"{name}: no metrics: {each.problem}", style="red", markup=False)
    for edge in found.undeclared():
        out.print(f"undeclared: {edge.caller} calls {short_name(edge.method)}", style="red", markup=False)


def _cells(edge: TrafficEdge) -> list[Text]:
    rates = edge.rates
    return [
        Text(edge.caller),
        Text(short_name(edge.method)),
        Text(kinds_text(edge.kinds), style="dim"),
        Text(rate_text(rates.calls_per_s)),
        Text(share_text(rates.error_share), style="red" if is_failing(rates) else ""),
        Text(duration_ms_text(rates.p50_ms)),
        Text(duration_ms_text(rates.p99_ms)),
        Text(f"{edge.in_flight:g}" if edge.in_flight else ""),
        Text(edge.breaker, style="red" if edge.breaker == "open" else ""),
    ]
