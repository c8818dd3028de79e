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
from contracts.source.code import source_folders

if TYPE_CHECKING:
    from collections.abc import Collection

    from google.protobuf.descriptor import ServiceDescriptor

    from contracts.checks.finding import Finding

    # Contracts, and the folders of the code to compare with them.
    Planted = tuple[Image, dict[Path, tuple[ServiceDescriptor, ...]]]

ROOT = Path(__file__).parents[3]
FOLDER = Path(__file__).parent / "planted_faults"
FILES = {path.name: path.read_text() for path in FOLDER.iterdir() if path.is_file()}
DOCUMENT = (ROOT / "docs" / "contract-checks.md").read_text()
NOW = datetime(2026, 12, 1, tzinfo=UTC)
INCLUDED = [ROOT / "proto", ROOT / "third_party/protovalidate", ROOT / "third_party/googleapis"]


@dataclass(frozen=True)
class Fault:
    """Row of the document: an edit of the contracts or of the code, and the id and the place of the finding."""

    id: str
    before: str
    after: str
    place: str


def faults_in(text: str) -> list[Fault]:
    """Return the rows of the tables in a part of the document."""
    row = r"^\| `(\w+)` \| `([^`]+)` \| (?:`([^`]+)`|removed) \| (\w+\.(?:proto|py):\d+) \|$"
    return [Fault(*found) for found in re.findall(row, text, re.MULTILINE)]


OF_CONTRACTS, OF_CODE = map(faults_in, DOCUMENT.split("## Planted faults in code"))
FAULTS = {
    **{f"contract{number}": fault for number, fault in enumerate(OF_CONTRACTS)},
    **{f"code{number}": fault for number, fault in enumerate(OF_CODE)},
}
FOLDERS = ["faultless", *FAULTS]


def plant(fault: Fault | None, folder: Path) -> None:
    """Write the contracts and the code with a fault, and settings that have the code compared unless it is irrelevant.

    The packages begin with the name of the folder, so that no two are equal.
    """
    sources = FILES
    if fault is not None:
        assert sum(source.count(fault.before) for source in sources.values()) == 1, fault.before
        sources = {name: source.replace(fault.before, fault.after) for name, source in sources.items()}
    for name, source in sources.items():
        path = folder / Path(name).stem / "v1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.replace("acme.", f"{folder.name}.").replace("acme/", f"{folder.name}/"))
    if fault not in OF_CONTRACTS:
        (folder / "pyproject.toml").write_text('[tool.contracts]\nsource-folders = "{service}"\n')


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Planted]:
    """Compile the contracts without a fault and with each fault, all in one run, and return them by folder."""
    root = tmp_path_factory.mktemp("contracts")
    for folder in FOLDERS:
        plant(FAULTS.get(folder), root / folder)
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
    images = {folder: image_of(every, folder, root) for folder in FOLDERS}
    return {folder: (image, source_folders(root / folder, image)) for folder, image in images.items()}


def image_of(every: FileDescriptorSet, folder: str, root: Path) -> Image:
    """Return the image of one folder and its imports."""
    own = {file.name: root / file.name for file in every.file if file.name.startswith(f"{folder}/")}
    files = [file for file in every.file if file.name in own or file.name.partition("/")[0] not in FOLDERS]
    return Image(FileDescriptorSet(file=files), set(own), own)


def findings(planted: Planted, ignored: Collection[str] = ()) -> list[Finding]:
    """Return the findings in the contracts and the code of one folder."""
    return check(planted[0], NOW, ignored, planted[1])


def place_of(finding: Finding) -> str:
    """Return the place of a finding as in the document, such as "books.proto:12"."""
    return f"{Path(finding.file).name}:{finding.line}"


def test_the_contracts_without_a_fault_have_no_finding(planted: dict[str, Planted]) -> None:
    """The contracts and the code without a planted fault pass every check."""
    assert findings(planted["faultless"]) == []


@pytest.mark.requirement("C6")
def test_each_planted_fault_is_found_at_its_line(planted: dict[str, Planted]) -> None:
    """Each fault in docs/contract-checks.md gives exactly one finding, with the id and the line of the document."""
    found = {folder: [(each.id, place_of(each)) for each in findings(planted[folder])] for folder in FAULTS}

    assert found == {folder: [(fault.id, fault.place)] for folder, fault in FAULTS.items()}


def test_a_finding_names_its_declaration(planted: dict[str, Planted]) -> None:
    """The message of each finding begins with the name of a method, service, message or field of the contract."""
    for folder in FAULTS:
        (finding,) = findings(planted[folder])

        assert re.match(rf"{folder}\.[\w.]+(/\w+)?: \S", finding.message), finding.message


def test_each_check_has_a_planted_fault() -> None:
    """The document has at least 40 faults, and at least one for each check."""
    assert len(FAULTS) >= 40
    assert {fault.id for fault in FAULTS.values()} == {each.id for each in CHECKS}


def test_the_document_lists_each_check() -> None:
    """The table of checks in the document equals the registry."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \| ([^|]+) \|$", DOCUMENT, re.MULTILINE)

    assert rows == [(each.id, each.fault, each.remedy) for each in CHECKS]


def test_an_ignored_check_does_not_run(planted: dict[str, Planted]) -> None:
    """An ignored check has no finding, and all others still run."""
    for folder, fault in FAULTS.items():
        assert findings(planted[folder], ignored={fault.id}) == []
