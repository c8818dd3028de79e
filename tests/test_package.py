from __future__ import annotations

import hashlib
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
# Of the unchanged text at apache.org.
APACHE_2_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    """Build the wheel of this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return ZipFile(path)


def test_the_licence_is_apache_2() -> None:
    """LICENSE is the unchanged text of the Apache License 2.0."""
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_SHA256


def test_the_wheel_contains_its_licence(wheel: ZipFile) -> None:
    """The wheel names Apache-2.0 in its metadata and contains LICENSE (PEP 639)."""
    [metadata_name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(metadata_name).decode())

    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata_name.replace("METADATA", "licenses/LICENSE") in wheel.namelist()


def test_the_wheel_contains_the_imports_of_its_contracts(wheel: ZipFile) -> None:
    """The wheel contains the generated buf.validate, which its contracts import and no other package provides."""
    assert {"buf/validate/validate_pb2.py", "solo60/gym/v1/gym_pb2.py"} <= set(wheel.namelist())


def test_the_wheel_contains_its_openapi_document(wheel: ZipFile) -> None:
    """The wheel contains the document that the console serves, beside the generated code."""
    assert wheel.read("solo60/openapi.json") == (ROOT / "gen/docs/openapi.json").read_bytes()
