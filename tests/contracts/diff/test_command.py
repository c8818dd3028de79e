from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from contracts.__main__ import main
from contracts.diff import changes_between
from contracts.diff.revision import read_versions
from tests.contracts.diff.shop import ROOT, SOURCE, compiled, edited

if TYPE_CHECKING:
    from pathlib import Path

BREAKING = edited("deadline: {seconds: 10}", "deadline: {seconds: 9}")
RISKY = edited("burst: 10", "burst: 5")
METHOD = "shop.v1.ShopService/PlaceOrder"
LINE = SOURCE[: SOURCE.index("deadline: {seconds: 10}")].count("\n") + 1


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder."""
    user = ("-c", "user.name=Tester", "-c", "user.email=tester@solo60.example")
    subprocess.run(["git", *user, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a buf workspace with the shop's contracts, commit it to the branch main, and make it the current folder."""
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules:\n  - path: proto\n  - path: third_party\n")
    (tmp_path / "proto").mkdir()
    (tmp_path / "proto/shop.proto").write_text(SOURCE)
    third_party = tmp_path / "third_party"
    for module in ("third_party/protovalidate", "third_party/googleapis"):
        shutil.copytree(ROOT / module, third_party, dirs_exist_ok=True)
    for name in ("mesh/v1/policy.proto", "common/v1/errors.proto", "common/v1/text.proto"):
        (third_party / "solo60" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "proto/solo60" / name, third_party / "solo60" / name)
    (tmp_path / ".gitignore").write_text("third_party/\n")
    git(tmp_path, "init", "--initial-branch=main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message=Add the shop")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def diff(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command, and return its exit code, its output and its errors."""
    capsys.readouterr()
    code = main(["diff", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_breaking_change_since_a_revision_fails(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A breaking change since a git revision is printed with its place in the working tree and its callers, exit 1.

    The report also shows the entry of pyproject.toml that allows the change.
    """
    assert diff(capsys, "main") == (0, "", "")
    (workspace / "proto/shop.proto").write_text(BREAKING)

    code, out, err = diff(capsys, "main")

    first, hits = out.splitlines()
    assert code == 1
    assert err.endswith(f'pyproject.toml: allowed-changes = ["DEADLINE_SHORTENED {METHOD}"]\n')
    assert first.startswith(
        f"proto/shop.proto:{LINE}: breaking DEADLINE_SHORTENED {METHOD}: deadline: 10 s before, 9 s now. "
    )
    assert hits == "    hits shop.v1.ShopService"


def test_a_risky_change_does_not_fail(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A risky change is printed, and the exit code is 0."""
    (workspace / "proto/shop.proto").write_text(RISKY)

    code, out, _ = diff(capsys, "main")

    assert code == 0
    assert "risky RATE_LIMIT_LOWERED shop.v1.StockService/GetItem" in out


def test_breaking_changes_come_first(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report lists breaking changes before risky ones, and those before safe ones."""
    source = BREAKING.replace("burst: 10", "burst: 5").replace("lte: 90", "lte: 95")
    (workspace / "proto/shop.proto").write_text(source)

    _, out, _ = diff(capsys, "main", "--format=json")

    assert [each["severity"] for each in json.loads(out)] == ["breaking", "risky", "safe"]


def test_an_entry_for_a_risky_change_is_used(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry that names a risky change is not reported as unused, because contract tests may need it."""
    (workspace / "proto/shop.proto").write_text(RISKY)
    entry = "RATE_LIMIT_LOWERED shop.v1.StockService/GetItem"
    (workspace / "pyproject.toml").write_text(f'[tool.contracts]\nallowed-changes = ["{entry}"]\n')

    code, out, err = diff(capsys, "main")

    assert (code, err) == (0, "")
    assert f"risky (allowed) {entry}" in out


def test_an_intended_change_is_allowed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A breaking change that pyproject.toml allows is marked, and the exit code is 0. An unused entry is reported."""
    (workspace / "proto/shop.proto").write_text(BREAKING)
    entry = f"DEADLINE_SHORTENED {METHOD}"
    settings = f'[tool.contracts]\nallowed-changes = ["{entry}", "SCOPE_ADDED {METHOD}"]\n'
    (workspace / "pyproject.toml").write_text(settings)

    code, out, err = diff(capsys, "main")

    assert code == 0
    assert f"breaking (allowed) {entry}" in out
    assert err == f"pyproject.toml: allowed-changes: there is no such change: SCOPE_ADDED {METHOD}. Remove it.\n"


def test_a_change_is_an_annotation(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The format github prints one workflow command per change, which names the callers."""
    (workspace / "proto/shop.proto").write_text(BREAKING)

    code, out, _ = diff(capsys, "main", "--format=github")

    assert code == 1
    assert out.startswith(f"::error file=proto/shop.proto,line={LINE},title=DEADLINE_SHORTENED::{METHOD}: deadline: ")
    assert out.endswith("It hits shop.v1.ShopService.\n")


def test_two_images_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m contracts diff BEFORE AFTER` compares two images of other projects."""
    for name, source in (("before", SOURCE), ("after", BREAKING)):
        (tmp_path / name).write_bytes(compiled(source).SerializeToString())

    code, out, _ = diff(capsys, str(tmp_path / "before"), str(tmp_path / "after"))

    assert code == 1
    assert out.startswith("shop.proto:")


@pytest.mark.parametrize(
    ("revision", "source", "sentence"),
    [
        ("nowhere", SOURCE, "nowhere: this clone has no such git revision. Fetch it first.\n"),
        ("--all", SOURCE, "--all: this clone has no such git revision. Fetch it first.\n"),
        ("empty", SOURCE, "empty: this revision has no buf.yaml or no contracts in this folder.\n"),
        ("broken", SOURCE, "The contracts at broken do not compile: "),
        ("main", "message", "proto/shop.proto:1:"),
    ],
)
def test_unreadable_contracts_are_reported(
    workspace: Path, capsys: pytest.CaptureFixture[str], revision: str, source: str, sentence: str
) -> None:
    """An unknown revision, one without contracts, and broken contracts are one error with exit code 2."""
    git(workspace, "checkout", "-b", "broken")
    (workspace / "proto/shop.proto").write_text("message")
    git(workspace, "commit", "--all", "--message=Break the shop")
    git(workspace, "checkout", "--orphan", "empty")
    git(workspace, "rm", "-r", "--force", ".")
    git(workspace, "commit", "--allow-empty", "--message=Remove the shop")
    git(workspace, "checkout", "main")
    (workspace / "proto/shop.proto").write_text(source)

    code, out, err = diff(capsys, "--", revision)

    assert (code, out) == (2, "")
    assert err.startswith(sentence)


def test_a_link_out_of_the_workspace_is_reported(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A contract that is a link to an absolute path is not extracted, and is one error with exit code 2."""
    (workspace / "proto/passwd.proto").symlink_to("/etc/passwd")
    git(workspace, "add", ".")
    git(workspace, "commit", "--message=Link a contract")

    code, out, err = diff(capsys, "main")

    assert (code, out) == (2, "")
    assert err.startswith("main: the contracts cannot be extracted: ")
    assert err.count("\n") == 1


def test_the_lock_file_of_the_revision_is_used(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old contracts compile with the dependencies that their own `buf.lock` names."""
    (workspace / "buf.lock").write_text("version: v2\ndeps: nothing\n")
    git(workspace, "add", ".")
    git(workspace, "commit", "--message=Lock the dependencies")
    (workspace / "buf.lock").unlink()

    code, _, err = diff(capsys, "main")

    assert code == 2
    assert "buf.lock" in err


def test_missing_programs_and_files_are_reported(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder outside of git, a missing git and a missing image are one sentence with exit code 2."""
    unreadable = "missing.binpb cannot be read: No such file or directory.\n"
    assert diff(capsys, "missing.binpb", "buf.yaml") == (2, "", unreadable)
    assert diff(capsys, "buf.yaml", "buf.yaml")[2].startswith("buf.yaml: The image is not a FileDescriptorSet. ")
    shutil.rmtree(workspace / ".git")
    assert diff(capsys, "main")[0] == 2
    monkeypatch.setenv("PATH", str(workspace))
    assert diff(capsys, "main") == (
        2,
        "",
        "git is not installed. Install it, or compare two images.\n",
    )


@pytest.mark.parametrize(
    "settings",
    [
        "[tool",
        "[tool.contracts]\nallowed-changes = 5",
        "[tool.contracts]\nallowed = []",
        "[tool]\ncontracts = 1",
    ],
)
def test_malformed_settings_are_reported(workspace: Path, capsys: pytest.CaptureFixture[str], settings: str) -> None:
    """Malformed settings are one sentence that names pyproject.toml, with exit code 2."""
    (workspace / "pyproject.toml").write_text(settings)

    code, _, err = diff(capsys, "main")

    assert code == 2
    assert err.startswith("pyproject.toml: ")


def test_the_command_line_has_the_diff(workspace: Path) -> None:
    """`solo60 contracts diff REF` prints the changes and exits with 1 if one is breaking, or 2 for an unknown REF."""
    (workspace / "proto/shop.proto").write_text(BREAKING)

    command = ["solo60", "contracts", "diff", "--format", "json"]
    done = subprocess.run([*command, "main"], cwd=workspace, capture_output=True, check=False)
    failed = subprocess.run([*command, "nowhere"], cwd=workspace, capture_output=True, check=False)

    assert done.returncode == 1
    assert [each["id"] for each in json.loads(done.stdout)] == ["DEADLINE_SHORTENED"]
    assert (failed.returncode, failed.stdout) == (2, b"")


def test_our_contracts_equal_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Our contracts have no changes compared with themselves."""
    image = str(tmp_path / "contracts.binpb")
    build = ["buf", "build", "--as-file-descriptor-set", "--output", image]
    subprocess.run(build, cwd=ROOT, check=True)

    assert diff(capsys, image, image) == (0, "", "")


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_old_revisions_are_compared(share: float) -> None:
    """The changes since old revisions of our contracts are found without an error, each at a line of its file."""
    listed = subprocess.run(
        ["git", "log", "--format=%H", "--reverse", "--", "proto/solo60/mesh/v1/policy.proto"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    revisions = listed.stdout.split()
    if len(revisions) < 2:
        pytest.skip("this clone has no history")

    before, after = read_versions(ROOT, revisions[int(share * len(revisions))])
    changes = changes_between(before, after)

    assert changes
    assert all(change.location.line > 0 for change in changes if change.location.file in {f.name for f in after.files})
