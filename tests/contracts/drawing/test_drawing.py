from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from contracts.drawing.graph import Graph
from contracts.drawing.mermaid import mermaid_of
from contracts.drawing.svg import svg_of
from contracts.drawing.views import mesh_picture, method_picture, package_picture
from contracts.edges import Edge, EdgeKind
from solo60.example.v1 import echo_pb2
from tests.contracts.drawing.graphs import graph, method

if TYPE_CHECKING:
    from contracts.drawing.picture import Picture

SVG = "{http://www.w3.org/2000/svg}"
SHOP = graph(
    "shop.Buy -> stock.Take",
    "shop.Sell -> stock.Take",
    "shop.Buy -> bank.Charge",
    "shop.Buy ~> bank.Refund",
    "shop.Buy ~> shop.Remind",
    "stock.Emptied *> shop.OnEmptied",
    "bank.Charge -> audit.Log",
    "shop.Buy -> audit.Log",
    stock=0.5,
    bank=2.5,
)
PICTURES = {
    "mesh": mesh_picture(SHOP),
    "package": package_picture(SHOP, "shop.v1"),
    "method": method_picture(SHOP, method("shop.Buy")),
    "empty": mesh_picture(Graph({}, ())),
}


def parsed(svg: str) -> ET.Element:
    """Return the root of an SVG."""
    return ET.fromstring(svg)  # noqa: S314 - our own output


def lines_in(svg: str) -> list[tuple[str, str]]:
    """Return the explanation and the kind of each line in an SVG, and check that it is XML."""
    found = []
    for group in parsed(svg).iter(f"{SVG}g"):
        text, path = group.find(f"{SVG}title"), group.find(f"{SVG}path")
        assert text is not None
        assert path is not None
        found.append((text.text or "", path.attrib["class"].split()[1]))
    return found


def texts_in(svg: str) -> list[str]:
    """Return each text in an SVG."""
    return [each.text or "" for each in parsed(svg).iter(f"{SVG}text")]


def test_a_mesh_has_one_line_for_all_callers_in_a_package() -> None:
    """The picture of a mesh has one line for each package, callee and kind, which names callers and deadline."""
    assert sorted(lines_in(svg_of(PICTURES["mesh"]))) == [
        ("bank: Charge calls audit.Log within 1 s", "calls"),
        ("shop: Buy calls audit.Log within 1 s", "calls"),
        ("shop: Buy calls bank.Charge within 2.5 s", "calls"),
        ("shop: Buy calls later bank.Refund within 2.5 s", "calls_later"),
        ("shop: Buy, Sell calls stock.Take within 500 ms", "calls"),
        ("stock: Emptied is delivered to shop.OnEmptied within 1 s", "subscribes_to"),
    ]


def test_a_box_lists_called_methods_with_deadlines_and_counts_the_others() -> None:
    """A box lists the methods that other packages call, and counts the others and its own later calls."""
    [box] = [box for box in PICTURES["mesh"].boxes() if box.title == "shop"]
    [stock] = [box for box in PICTURES["mesh"].boxes() if box.title == "stock"]

    assert [(row.label, row.value) for row in box.rows] == [("OnEmptied", "1 s")]
    assert box.note == "more methods: 3, own later calls: 1"
    assert [(row.label, row.value) for row in stock.rows] == [("Take", "500 ms"), ("Emptied", "event")]


def test_callers_are_left_of_callees() -> None:
    """Packages are in columns from callers to callees, and events do not change that."""
    assert [{box.title for box in column} for column in PICTURES["mesh"].columns] == [
        {"shop"},
        {"stock", "bank"},
        {"audit"},
    ]


def test_a_package_is_shown_between_its_callers_and_its_callees() -> None:
    """The picture of a package shows each edge to other packages once, and its calls to itself as notes."""
    picture = PICTURES["package"]

    assert [[box.title for box in column] for column in picture.columns] == [
        ["stock"],
        ["shop"],
        ["stock", "bank", "audit"],
    ]
    assert len(set(lines_in(svg_of(picture)))) == len(picture.lines) == 6
    assert {row.label: row.note for row in picture.columns[1][0].rows} == {
        "Buy": "later: Remind",
        "Sell": "",
        "Remind": "",
        "OnEmptied": "",
    }


def test_a_method_is_shown_with_everything_that_it_reaches() -> None:
    """The picture of a method has a box with a deadline for each call on each path, and a column for each step."""
    shown = [[(box.title, box.value) for box in column] for column in PICTURES["method"].columns]

    assert shown == [
        [("shop.Buy", "1 s")],
        [
            ("stock.Take", "500 ms"),
            ("bank.Charge", "1 s"),
            ("bank.Refund", "2.5 s"),
            ("shop.Remind", "1 s"),
            ("audit.Log", "1 s"),
        ],
        [("audit.Log", "1 s")],
    ]


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_an_svg_is_a_titled_page_without_scripts_or_external_parts(picture: Picture) -> None:
    """An SVG has a title and dark colours, its text is text, and it loads nothing."""
    svg = svg_of(picture)
    root = parsed(svg)

    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == picture.title
    assert "prefers-color-scheme: dark" in svg
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= {
        "svg",
        "title",
        "style",
        "rect",
        "g",
        "path",
        "text",
    }
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert {box.title for box in picture.boxes()} <= set(texts_in(svg))


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_everything_is_inside_the_svg(picture: Picture) -> None:
    """No box, text or line begins or ends outside of the picture."""
    root = parsed(svg_of(picture))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    places = [(float(e.attrib["x"]), float(e.attrib["y"])) for e in root.iter() if "y" in e.attrib]
    boxes = [e.attrib for e in root.iter(f"{SVG}rect") if e.attrib["class"] == "box"]
    places += [(float(b["x"]) + float(b["width"]), float(b["y"]) + float(b["height"])) for b in boxes]

    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)


def test_lines_over_several_columns_pass_between_the_boxes() -> None:
    """The straight part of a line beside a column is at a height without a box."""
    root = parsed(svg_of(PICTURES["mesh"]))
    boxes = [
        {key: float(e.attrib[key]) for key in ("x", "y", "width", "height")}
        for e in root.iter(f"{SVG}rect")
        if e.attrib["class"] == "box"
    ]
    [passing] = [e.attrib["d"] for e in root.iter(f"{SVG}path") if e.attrib.get("d", "").count("H") == 2]

    x, y = map(float, re.findall(r"([\d.]+) ([\d.]+)H", passing)[0])
    beside = [box for box in boxes if box["x"] == x]
    assert beside
    assert not any(box["y"] <= y <= box["y"] + box["height"] for box in beside)


def test_mermaid_shows_each_edge_with_its_deadline() -> None:
    """A flowchart has a subgraph for each package, and an arrow with a deadline for each line: -.-> if it is later."""
    shown = mermaid_of(PICTURES["mesh"])

    assert shown.startswith("flowchart LR\n")
    assert '  subgraph in_shop_["shop"]\n    shop_OnEmptied["OnEmptied"]\n  end\n' in shown
    assert '  shop_(["shop"])\n' in shown
    assert '  shop_ -->|"500 ms"| stock_Take\n' in shown
    assert '  shop_ -.->|"2.5 s"| bank_Refund\n' in shown
    assert '  stock_Emptied -.->|"1 s"| shop_OnEmptied\n' in shown
    [dotted] = re.findall(r"linkStyle (\d+) stroke-dasharray: 1 4", shown)
    assert "stock_Emptied" in [line for line in shown.splitlines() if ">|" in line][int(dotted)]


@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
def test_every_arrow_in_mermaid_joins_two_nodes(picture: Picture) -> None:
    """Each end of an arrow is declared exactly once, and there are as many arrows as lines."""
    shown = mermaid_of(picture)
    declared = re.findall(r'(?m)^\s*(?:subgraph )?(\w+)\(?\["', shown)
    ends = re.findall(r'(?m)^\s*(\w+) -\.?->(?:\|"[^"|]*"\|)? (\w+)$', shown) + re.findall(
        r"(?m)^  (\w+) --> (\w+)$", shown
    )

    assert len(declared) == len(set(declared))
    assert {end for pair in ends for end in pair} <= set(declared)
    assert shown.count(">|") + shown.count("> ") == len(picture.lines)


def test_names_that_mermaid_or_xml_reserve_are_escaped() -> None:
    """A package called "end" and characters with a meaning in XML do not break a drawing."""
    drawn = mesh_picture(
        Graph({"end.A/B": 1.0}, (Edge("style.C/D", "end.A/B", EdgeKind.CALL), Edge("x.y<&", "end.A/B", EdgeKind.EVENT)))
    )

    assert '  style_["style"]' in mermaid_of(drawn)
    assert "y<&" in texts_in(svg_of(drawn))


def test_a_callee_of_unknown_contracts_has_no_deadline() -> None:
    """A callee that is not among the methods is drawn without a deadline."""
    drawn = mesh_picture(Graph({"a.S/Do": 1.0}, (Edge("a.S/Do", "b.S/Do", EdgeKind.CALL),)))

    assert lines_in(svg_of(drawn)) == [("a: Do calls b.Do", "calls")]
    assert "a_ --> b_Do" in mermaid_of(drawn)


def test_methods_of_one_name_in_two_services_are_two_rows() -> None:
    """Two services in one package may have methods with the same name."""
    edges = (Edge("b.S/Do", "a.S/Get", EdgeKind.CALL), Edge("b.S/Do", "a.T/Get", EdgeKind.CALL))
    drawn = mesh_picture(Graph({"a.S/Get": 1.0, "a.T/Get": 2.0, "b.S/Do": 1.0}, edges))

    assert len(set(re.findall(r"> ?\|?.*\| (\w+)", mermaid_of(drawn)))) == 2
    assert [line.value for line in drawn.lines] == ["1 s", "2 s"]


def test_a_graph_is_read_from_descriptors() -> None:
    """The graph of a service has the deadline of each of its methods."""
    service = echo_pb2.DESCRIPTOR.services_by_name["EchoService"]

    drawn = Graph.of(service.methods)

    assert list(drawn.deadlines_s) == [f"{service.full_name}/{each.name}" for each in service.methods]
    assert min(drawn.deadlines_s.values()) > 0
