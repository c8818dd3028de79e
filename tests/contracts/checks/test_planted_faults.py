from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from contracts.checks.registry import CHECKS
from contracts.checks.run import check
from contracts.image import Image

if TYPE_CHECKING:
    from contracts.checks.finding import Finding

ROOT = Path(__file__).parents[3]
FOLDER = Path(__file__).parent / "planted_faults"
NAMES = ("books", "members", "loans")
DOCUMENT = (ROOT / "docs" / "contract-checks.md").read_text()
NOW = datetime(2026, 12, 1, tzinfo=UTC)
INCLUDED = [ROOT / "proto", ROOT / "third_party/protovalidate", ROOT / "third_party/googleapis"]


@dataclass(frozen=True)
class Fault:
    """Row of the document: an edit of the contracts, and the id and the place of the finding."""

    id: str
    before: str
    after: str
    place: str


FAULTS = [
    Fault(*row)
    for row in re.findall(
        r"^\| `(\w+)` \| `([^`]+)` \| (?:`([^`]+)`|removed) \| (\w+\.proto:\d+) \|$", DOCUMENT, re.MULTILINE
    )
]
FOLDERS = ["faultless", *(f"fault{number}" for number in range(len(FAULTS)))]


def plant(fault: Fault | None, folder: Path) -> None:
    """Write the contracts with a fault. Their packages begin with the name of the folder, so that no two are equal."""
    sources = {name: (FOLDER / f"{name}.proto").read_text() for name in NAMES}
    if fault is not None:
        assert sum(source.count(fault.before) for source in sources.values()) == 1, fault.before
        sources = {name: source.replace(fault.before, fault.after) for name, source in sources.items()}
    for name, source in sources.items():
        path = folder / name / "v1" / f"{name}.proto"
        path.parent.mkdir(parents=True)
        path.write_text(source.replace("acme.", f"{folder.name}.").replace("acme/", f"{folder.name}/"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """Compile the contracts without a fault and with each fault, all in one run, and return the images by folder."""
    root = tmp_path_factory.mktemp("contracts")
    for folder, fault in zip(FOLDERS, [None, *FAULTS], strict=True):
        plant(fault, root / folder)
    paths = [root, *INCLUDED, Path(grpc_tools.__file__).parent / "_proto"]
    options = [
        *(f"-I{path}" for path in paths),
        "--include_imports",
        "--include_source_info",
        "-o",
        str(root / "image"),
    ]
    contracts = map(str, root.glob("*/*/v1/*.proto"))
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *contracts], check=True)
    every = FileDescriptorSet.FromString((root / "image").read_bytes())
    return {folder: image_of(every, folder, root) for folder in FOLDERS}


def image_of(every: FileDescriptorSet, folder: str, root: Path) -> Image:
    """Return the image of one folder and its imports."""
    own = {file.name: root / file.name for file in every.file if file.name.startswith(f"{folder}/")}
    files = [file for file in every.file if file.name in own or file.name.partition("/")[0] not in FOLDERS]
    return Image(FileDescriptorSet(file=files), set(own), own)


def place_of(finding: Finding) -> str:
    """Return the place of a finding as in the document, such as "books.proto:12"."""
    return f"{Path(finding.file).name}:{finding.line}"


def test_the_contracts_without_a_fault_have_no_finding(images: dict[str, Image]) -> None:
    """The contracts without a planted fault pass every check."""
    assert check(images["faultless"], NOW) == []


@pytest.mark.requirement("C6")
def test_each_planted_fault_is_found_at_its_line(images: dict[str, Image]) -> None:
    """Each fault in docs/contract-checks.md gives exactly one finding, with the id and the line of the document."""
    found = {folder: [(each.id, place_of(each)) for each in check(images[folder], NOW)] for folder in FOLDERS[1:]}

    assert found == {folder: [(fault.id, fault.place)] for folder, fault in zip(FOLDERS[1:], FAULTS, strict=True)}


def test_a_finding_names_its_declaration(images: dict[str, Image]) -> None:
    """The message of each finding begins with the name of a method, service, message or field of the contract."""
    for folder in FOLDERS[1:]:
        (finding,) = check(images[folder], NOW)

        assert re.match(rf"{folder}\.[\w.]+(/\w+)?: \S", finding.message), finding.message


def test_each_check_has_a_planted_fault() -> None:
    """The document has at least 40 faults, and at least one for each check."""
    assert len(FAULTS) >= 40
    assert {fault.id for fault in FAULTS} == {each.id for each in CHECKS}


def test_the_document_lists_each_check() -> None:
    """The table of checks in the document equals the registry."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)

    assert rows == [(each.id, each.fault, each.remedy) for each in CHECKS]


def test_an_ignored_check_does_not_run(images: dict[str, Image]) -> None:
    """An ignored check has no finding, and all others still run."""
    for folder, fault in zip(FOLDERS[1:], FAULTS, strict=True):
        assert check(images[folder], NOW, ignored={fault.id}) == []
