"""Check of the migrations with squawk: each must be safe while replicas of the previous version are running."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / ".squawk.toml"
SQUAWK = Path(sys.executable).with_name("squawk")
FIRST = "Written before the first release, for tables without rows in use; there was no older replica beside it."
# Findings in applied files, which never change, each with the reason why it may stay. A new file has none: rewrite the
# statement, or put `-- squawk-ignore rule` before it, with the reason above.
BASELINE = {
    ("communication/0011_messages_in_doubt.sql", "require-concurrent-index-creation"): FIRST,
    (
        "payment/0008_ledger_by_permission.sql",
        "adding-field-with-default",
    ): "A virtual generated column is not stored: no row is written.",
    ("session/0011_outbox_for_due_work.sql", "ban-drop-column"): FIRST,
    ("session/0011_outbox_for_due_work.sql", "constraint-missing-not-valid"): FIRST,
    ("session/0011_outbox_for_due_work.sql", "require-concurrent-index-creation"): FIRST,
    ("session/0014_approval.sql", "require-concurrent-index-creation"): FIRST,
}
UP, DOWN = "-- migrate:up", "-- migrate:down"
IGNORE = re.compile(r"^\s*--\s*squawk-ignore")


def findings_in(folder: Path) -> dict[tuple[str, str], list[str]]:
    """Return squawk's findings in the "up" part of each migration below `folder`, by file and rule."""
    found = defaultdict(list)
    for is_outside in (False, True):
        files = [path for path in sorted(folder.rglob("*.sql")) if runs_outside_transaction(path) is is_outside]
        for each in findings_of(files, ["--no-assume-in-transaction"] if is_outside else []):
            path = Path(each["file"])
            name = f"{path.parent.parent.name}/{path.name}"
            found[name, each["rule_name"]].append(f"{name}:{each['line'] + 1}: {each['rule_name']}: {each['message']}")
    return found


def runs_outside_transaction(path: Path) -> bool:
    """Return whether dbmate applies a file outside a transaction."""
    return path.read_text().partition("\n")[0].endswith("transaction:false")


def findings_of(files: list[Path], options: list[str]) -> list[dict[str, Any]]:
    """Return squawk's findings. The "down" part of a file is removed first, because it is never run."""
    with TemporaryDirectory() as folder:
        copies = []
        for path in files:
            copy = Path(folder) / path.parent.parent.name / "migrations" / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text().partition(DOWN)[0])
            copies.append(copy)
        if not copies:
            return []
        command: list[str | Path] = [SQUAWK, "--config", CONFIG, "--reporter", "json", *options, *copies]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]  # a list of findings


def test_no_migration_breaks_a_replica_of_the_previous_version() -> None:
    """Squawk's findings in the migrations are exactly those of the baseline."""
    found = findings_in(ROOT / "mesh") | findings_in(ROOT / "services")

    new = [text for key, texts in found.items() if key not in BASELINE for text in texts]
    assert not new, "\n".join(["see Migrations in CONTRIBUTING.md", *new])
    assert found.keys() == BASELINE.keys(), "these findings of the baseline are gone"


def test_an_ignored_rule_has_a_reason() -> None:
    """Each `-- squawk-ignore` has a comment with the reason on the line above."""
    paths = (*ROOT.glob("mesh/migrations/*.sql"), *ROOT.glob("services/*/migrations/*.sql"))
    pairs = [pair for path in paths for pair in pairwise(path.read_text().splitlines())]
    ignored = [(above, line) for above, line in pairs if IGNORE.match(line)]

    assert ignored != []
    assert [line for above, line in ignored if not re.match(r"\s*-- \w", above)] == []


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (f"{UP}\ncreate index a_b on a (b);", {"require-concurrent-index-creation"}),
        (
            f"{UP}\nalter table a add column b text;\ncreate index concurrently if not exists a_b on a (b);",
            {"ban-concurrent-index-creation-in-transaction"},
        ),
        (f"{UP}\nalter table a drop column b;", {"ban-drop-column"}),
        (f"{UP}\nalter table a rename column b to c;", {"renaming-column"}),
        (f"{UP}\nalter table a alter column b set not null;", {"adding-not-nullable-field"}),
        (f"{UP}\nalter table a alter column b type bigint;", {"changing-column-type"}),
        (f"{UP}\nalter table a add check (b > 0);", {"constraint-missing-not-valid"}),
        (f"{UP}\ndrop table a;", {"ban-drop-table"}),
        (f"{UP} transaction:false\ncreate index concurrently if not exists a_b on a (b);", set()),
        (f"{UP}\nalter table a add column b text;\n{DOWN}\nalter table a drop column b;", set()),
        (f"{UP}\ncreate table a (b int not null);\ncreate index a_b on a (b);", set()),
    ],
)
def test_squawk_finds_unsafe_statements(tmp_path: Path, text: str, rules: set[str]) -> None:
    """Squawk judges a migration by whether it runs in a transaction, and ignores its "down" part."""
    path = tmp_path / "service" / "migrations" / "0001_a.sql"
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert {rule for _, rule in findings_in(tmp_path)} == rules
