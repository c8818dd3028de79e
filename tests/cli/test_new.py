from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.new import DEFAULT_PORT
from contracts.services import SERVICES, default_port_of
from tests.support.sources import ROOT

if TYPE_CHECKING:
    from tests.cli.conftest import Solo60

# Folders that the style checks need, to tell our own modules from those of others.
FOLDERS = ("contracts", "interceptors", "mesh")
TOOLS = Path(sys.executable).parent
# The shortest and the longest name, because the length of a line decides how it is formatted.
NAMES = ["ox", "abcdefghijklmnop"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the contracts and the style of this repository."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "proto", folder / "proto")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in FOLDERS:
        (folder / name).symlink_to(ROOT / name)
    monkeypatch.chdir(folder)
    return folder


def run(*command: str | Path) -> None:
    """Run one of the tools of the virtual environment; fail with its output."""
    done = subprocess.run([TOOLS / command[0], *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_new_service_has_the_style_of_this_repository(solo60: Solo60, repository: Path, name: str) -> None:
    """`new service` prints the paths of the files that it wrote, which ruff and buf accept as they are."""
    done = solo60("new", "service", name)

    assert done.exit_code == 0
    paths = [repository / line for line in done.out.splitlines()]
    assert {path.relative_to(repository).parts[0] for path in paths} == {"proto", "services", "tests"}
    assert not re.search(r"<\w+>", "".join(path.read_text() for path in paths))
    run("ruff", "check", "services", "tests")
    run("ruff", "format", "--check", "services", "tests")
    run("buf", "format", "--exit-code", f"proto/solo60/{name}/v1/{name}.proto")


def test_each_new_service_gets_the_next_port(solo60: Solo60, repository: Path) -> None:
    """A new service gets the port after the highest one, also if the code of the latest is not generated yet."""
    for name in ("trainer", "shop"):
        assert solo60("new", "service", name).exit_code == 0

    texts = [(repository / f"proto/solo60/{name}/v1/{name}.proto").read_text() for name in ("trainer", "shop")]
    highest = max(map(default_port_of, SERVICES.values()))
    assert [int(port) for text in texts for port in DEFAULT_PORT.findall(text)] == [highest + 1, highest + 2]


@pytest.mark.parametrize(
    ("name", "plural"), [("trainer", "trainers"), ("day", "days"), ("city", "cities"), ("box", "boxes")]
)
def test_a_table_is_named_in_the_plural(solo60: Solo60, repository: Path, name: str, plural: str) -> None:
    """The table of a new service is named after it, in the plural."""
    solo60("new", "service", name)

    assert [path.stem for path in (repository / "services" / name).glob("migrations/*")] == [f"0001_{plural}"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Trainer", '"Trainer" cannot name a service. Use 2 to 16 lower-case letters.'),
        ("personal_trainer", '"personal_trainer" cannot name a service. Use 2 to 16 lower-case letters.'),
        ("t", '"t" cannot name a service. Use 2 to 16 lower-case letters.'),
        ("t" * 17, f'"{"t" * 17}" cannot name a service. Use 2 to 16 lower-case letters.'),
        ("class", '"class" cannot name a service, because Python or pytest uses the word. Choose another.'),
        ("input", '"input" cannot name a service, because Python or pytest uses the word. Choose another.'),
        ("exception", '"exception" cannot name a service, because Python or pytest uses the word. Choose another.'),
        ("tester", '"tester" cannot name a service, because Python or pytest uses the word. Choose another.'),
        *[
            (name, f'"{name}" cannot name a service, because the mesh or SQL uses the word. Choose another.')
            for name in ("operator", "postgresql", "database", "google", "buf", "reference", "overlap")
        ],
        ("gym", "proto/solo60/gym exists. Choose another name."),
        ("mesh", "proto/solo60/mesh exists. Choose another name."),
    ],
)
def test_an_unusable_name_is_rejected(solo60: Solo60, repository: Path, name: str, sentence: str) -> None:
    """`new service` rejects a malformed, reserved or existing name with one sentence, and writes nothing."""
    done = solo60("new", "service", name)

    assert (done.exit_code, done.out, done.err) == (1, "", f"{sentence}\n")
    assert not (repository / "services").exists()


def test_no_file_is_overwritten(solo60: Solo60, repository: Path) -> None:
    """`new service` writes nothing if one of its files exists, and names that file."""
    existing = repository / "services/trainer/wire.py"
    existing.parent.mkdir(parents=True)
    existing.write_text("mine")

    done = solo60("new", "service", "trainer")

    assert (done.exit_code, done.out) == (1, "")
    assert done.err == "services/trainer/wire.py exists. Choose another name, or delete it.\n"
    assert existing.read_text() == "mine"
    assert not (repository / "proto/solo60/trainer").exists()


def test_a_write_error_leaves_no_file(solo60: Solo60, repository: Path) -> None:
    """If one file cannot be written, `new service` names it, deletes the others, and works once the cause is gone."""
    obstacle = repository / "services"
    obstacle.write_text("not a folder")

    done = solo60("new", "service", "trainer")

    assert (done.exit_code, done.out) == (1, "")
    assert re.fullmatch(r"services/trainer/\S+: cannot be written: Not a directory\.\n", done.err)
    assert not [path for path in (repository / "proto/solo60/trainer").rglob("*") if path.is_file()]
    obstacle.unlink()
    assert solo60("new", "service", "trainer").exit_code == 0


def test_another_folder_is_rejected(solo60: Solo60, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`new service` outside the root of the repository says where to run it."""
    monkeypatch.chdir(tmp_path)

    done = solo60("new", "service", "trainer")

    assert (done.exit_code, done.out) == (1, "")
    assert done.err == "There is no folder proto/solo60 here. Run this command in the root of the repository.\n"
