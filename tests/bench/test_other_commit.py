from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.other_commit import LOCK, PROGRAMS, UnusableCommit, check_out
from bench.workspace import FOLDER

MAKEFILE = """.venv-bench/.ready:
\t@test -z '$(BASE)' && mkdir -p .venv-bench && touch $@
"""


def git(*arguments: str) -> str:
    """Run git in the current folder and return its output."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def commit(files: dict[str, str]) -> str:
    """Write and commit files, and return the commit's hash."""
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git("add", "--all", "--force")
    git("commit", "--quiet", "--message=Change")
    return git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new repository. Its only commit has the programs of the benchmark."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    commit({".gitignore": "build/\n", "Makefile": MAKEFILE, **{str(program): "" for program in PROGRAMS}})
    return tmp_path


def test_an_unknown_base_is_named_in_one_sentence() -> None:
    """A name that is no commit is rejected with the name and an example. No worktree is left."""
    with pytest.raises(UnusableCommit, match=r"^BASE: 'nonsense' is no commit here\. Name .* such as BASE=main\.$"):
        check_out("nonsense")
    with pytest.raises(UnusableCommit, match="'--upload-pack=x' is no commit"):
        check_out("--upload-pack=x")
    assert not Path("build").exists()


def test_a_commit_before_the_benchmark_is_rejected(repository: Path) -> None:
    """A commit without the programs of the benchmark is rejected with the first missing one."""
    (repository / PROGRAMS[0]).unlink()
    git("commit", "--quiet", "--all", "--message=Remove")

    with pytest.raises(UnusableCommit, match=f"HEAD has no {PROGRAMS[0]}"):
        check_out("HEAD")


def test_a_commit_with_the_same_lock_runs_with_our_packages(repository: Path) -> None:
    """The worktree has the other commit's sources, our folder of keys and counters, and our packages."""
    before = git("rev-parse", "HEAD")
    commit({"bench/servers/ours.py": "changed = True\n"})

    other = check_out("HEAD~1")

    assert other.sha == before
    assert (other.folder / "bench/servers/ours.py").read_text(encoding="utf-8") == ""
    assert (other.folder / FOLDER).resolve() == (repository / FOLDER).resolve()
    assert other.python == Path(sys.executable)
    assert check_out(before) == other


def test_only_the_last_base_stays_checked_out() -> None:
    """Checking out another base removes the worktree of the one before."""
    first = check_out("HEAD")
    commit({"README.md": "new\n"})
    second = check_out("HEAD")

    assert not first.folder.exists()
    assert second.folder.exists()
    assert str(first.folder) not in git("worktree", "list")


def test_a_commit_with_another_lock_gets_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other commit's own Makefile installs its packages, without the variables of our make."""
    commit({str(LOCK): "grpcio==1\n"})
    monkeypatch.setenv("MAKEFLAGS", " -- BASE=main")
    monkeypatch.setenv("BASE", "main")

    other = check_out("HEAD~1")

    assert other.python == other.folder / ".venv-bench/bin/python"
    assert (other.folder / ".venv-bench/.ready").exists()


def test_a_commit_whose_packages_cannot_be_installed_is_rejected() -> None:
    """A failed installation is reported with the command that shows the reason."""
    commit({"Makefile": ".venv-bench/.ready:\n\t@exit 1\n"})
    commit({str(LOCK): "grpcio==1\n"})

    with pytest.raises(UnusableCommit, match=r"packages of HEAD~1 cannot be installed. `make -C .* shows why"):
        check_out("HEAD~1")
