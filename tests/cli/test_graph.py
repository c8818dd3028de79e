from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from cli.call_trees import mesh_trees, method_tree, package_tree
from contracts.drawing.graph import stays_inside
from contracts.drawing.svg import svg_of
from contracts.drawing.tree import tree_of
from contracts.drawing.views import mesh_picture
from contracts.names import own_name, package_of, short_name, short_package
from contracts.services import SERVICE_NAMES, SERVICES, all_methods
from operations.contracts.connections import graph_of_services
from tests.support.sources import ROOT
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from rich.tree import Tree

    from tests.cli.conftest import Solo60

GRAPH = graph_of_services()
BETWEEN = [edge for edge in GRAPH.edges if not stays_inside(edge)]


def test_the_graph_in_the_documentation_is_up_to_date() -> None:
    """docs/graph.svg is the picture of today's contracts."""
    stored = (ROOT / "docs" / "graph.svg").read_text(encoding="utf-8")

    assert stored == svg_of(mesh_picture(GRAPH)), "docs/graph.svg is outdated: run `make gen`"
    assert len(stored) < 100_000


def test_the_mesh_is_drawn_with_each_called_method(solo60: Solo60) -> None:
    """`graph` shows each method that another service calls, with its deadline and its caller, by kind of edge."""
    lines = [line.split() for line in solo60("graph").out.splitlines()]

    assert ["├──", "──▶", "payment.ChargeSession", "5", "s", "from", "2", "methods"] in lines
    assert ["├──", "╌╌▶", "payment.RefundSession", "5", "s", "from", "6", "methods"] in lines
    assert ["├──", "┈┈▶", "auth.OnUserLeft", "5", "s", "from", "UserLeft"] in lines
    shown = {word for line in lines for word in line}
    assert {short_name(edge.callee) for edge in BETWEEN} <= shown
    assert not [line for line in lines if "session.SendSessionMail" in line]


@pytest.mark.parametrize("service", SERVICE_NAMES)
def test_a_service_is_drawn_with_its_callers_and_callees(solo60: Solo60, service: str) -> None:
    """`graph SERVICE` shows each edge of the service once: from other services, or below its caller."""
    shown = solo60("graph", service).out
    package = SERVICES[service].file.package

    incoming = [edge for edge in BETWEEN if package_of(edge.callee) == package]
    outgoing = [edge for edge in GRAPH.edges if package_of(edge.caller) == package]
    assert shown.splitlines()[0] == service
    assert shown.count("◀") == len(incoming)
    # The legend contains three arrows.
    assert shown.count("▶") - 3 == len(outgoing)
    assert all(own_name(edge.callee) in shown for edge in (*incoming, *outgoing))


def test_a_method_is_drawn_with_everything_that_it_reaches(solo60: Solo60) -> None:
    """`graph METHOD` shows the calls below a method as a tree, by any form of its name."""
    shown = solo60("graph", "BookSession").out

    assert shown.splitlines()[0] == "session.BookSession  10 s"
    assert "├── ──▶ payment.ChargeSession  5 s\n" in shown
    assert "│   ├── ──▶ user.GetUser  1 s\n" in shown
    assert "    └── ╌╌▶ session.ExpireOffer  5 s  (see above)\n" in shown


def test_a_graph_is_read_by_scripts(solo60: Solo60) -> None:
    """`graph --json` prints the edges of the mesh or of one service, or the tree below one method."""
    mesh, gym = (json.loads(solo60("graph", *words, "--json").out) for words in ((), ("gym",)))
    tree: dict[str, Any] = json.loads(solo60("graph", "session.BookSession", "--json").out)

    assert [(each["caller"], each["callee"], each["kind"]) for each in mesh] == [
        (edge.caller, edge.callee, edge.kind) for edge in GRAPH.edges
    ]
    assert gym == [each for each in mesh if "solo60.gym.v1" in (package_of(each["caller"]), package_of(each["callee"]))]
    assert {each["deadline_s"] for each in gym if each["callee"].endswith("/GetGym")} == {1.0}
    assert (tree["method"], tree["kind"], tree["deadline_s"]) == (
        "solo60.session.v1.SessionService/BookSession",
        None,
        10,
    )
    assert tree["callees"][0]["method"] == "solo60.user.v1.UserService/ValidateUser"
    assert tree["callees"][0]["kind"] == "calls"


@pytest.mark.parametrize("name", [[], ["session"], ["session.BookSession"]], ids=str)
def test_pictures_are_written_to_files_or_printed(solo60: Solo60, tmp_path: Path, name: list[str]) -> None:
    """`--svg` and `--mermaid` write files, and print the same text if the file is "-"."""
    svg, mermaid = tmp_path / "graph.svg", tmp_path / "graph.mmd"

    silent = solo60("graph", *name, "--svg", str(svg), "--mermaid", str(mermaid))

    assert (silent.exit_code, silent.out) == (0, "")
    assert svg.read_text().startswith("<svg ")
    assert mermaid.read_text().startswith("flowchart LR\n")
    assert solo60("graph", *name, "--svg", "-").out == svg.read_text()
    assert solo60("graph", *name, "--mermaid", "-").out == mermaid.read_text()


def test_an_unusable_file_is_named(solo60: Solo60, tmp_path: Path) -> None:
    """A picture that cannot be written is reported with the path and the reason."""
    done = solo60("graph", "--svg", str(tmp_path / "missing" / "graph.svg"))

    assert (done.exit_code, done.err) == (1, f"{tmp_path}/missing/graph.svg: No such file or directory.\n")


def test_an_unknown_name_is_rejected_with_similar_ones(solo60: Solo60) -> None:
    """`graph` suggests methods for an unknown name, and services too if the name could be one."""
    method, service = solo60("graph", "gym.GetGmy"), solo60("graph", "sesion")

    assert (method.exit_code, service.exit_code) == (1, 1)
    assert method.err.startswith('There is no method "gym.GetGmy". Did you mean gym.GetGym ')
    assert "Services:" not in method.err
    assert "Services: auth, user, gym, " in service.err


def test_no_line_is_wider_than_80_columns() -> None:
    """The tree of the mesh, of each service and of each method looks the same at 80 columns and in a wide terminal."""
    trees = [
        *mesh_trees(GRAPH),
        *(package_tree(GRAPH, service.file.package) for service in SERVICES.values()),
        *(method_tree(tree_of(GRAPH, method)) for method in all_methods()),
    ]

    for tree in trees:
        assert rendered(tree, 80) == rendered(tree, 1000)


def rendered(tree: Tree, width: int) -> list[str]:
    """Return the lines of a tree in a terminal of this width."""
    console = Console(width=width, file=StringIO())
    with console.capture() as captured:
        console.print(tree)
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.usefixtures("solo60")
def test_the_graph_fits_into_a_real_terminal() -> None:
    """`graph` in a terminal of 80 columns prints no wider line."""
    exit_code, shown = solo60_in_terminal("graph", columns=80)

    assert exit_code == 0
    assert max(map(len, shown.splitlines())) <= 80


def test_trees_of_services_without_edges_are_omitted() -> None:
    """A service that calls no other has no tree in the mesh, and only its callers in its own."""
    drawn = [str(tree.label) for tree in mesh_trees(GRAPH)]

    assert drawn == [name for name in map(short_package, GRAPH.packages()) if name != "communication"]
    assert str(package_tree(GRAPH, "solo60.communication.v1").label) == "communication"
    assert method_tree(tree_of(GRAPH, "solo60.communication.v1.CommunicationService/GetMessage")).children == []
