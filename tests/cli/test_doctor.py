from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from contracts.services import SERVICE_NAMES
from local.service_databases import database_url_of
from mesh.serving.keyring_file import KeyringFile
from tests.support.postgres import execute, superuser_url_of
from tests.support.terminal import solo60_in_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Solo60
    from tests.support.postgres import PostgresForTests

BREAK_THE_LEDGER = """
    set session_replication_role = replica;
    insert into entries
        select uuidv7(), account_id, 'CREDIT', 1 from accounts, generate_series(1, 4) where kind = 'income'
"""


@pytest.fixture
def server_url(postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set DATABASE_URL to the tests' server; drop the services' databases after the test."""
    monkeypatch.setenv("DATABASE_URL", postgres.url)
    yield postgres.url
    for name in SERVICE_NAMES:
        asyncio.run(execute(postgres.url, f"drop database if exists solo60_{name}"))


def test_doctor_without_a_database_creates_none(solo60: Solo60, tmp_path: Path) -> None:
    """`doctor` without a database exits with 1, says how to create one, and leaves DATA_DIR empty."""
    done = solo60("doctor")

    assert (done.exit_code, done.out) == (1, "")
    assert done.err == f"There is no database in {tmp_path}. Create it with `make run`.\n"
    assert list(tmp_path.iterdir()) == []


def test_doctor_reports_faults_and_nothing_else(solo60: Solo60, server_url: str) -> None:
    """`doctor` reports missing databases, rows that break an invariant, and missing migrations. The rest is sound."""
    before = json.loads(solo60("doctor", "--json").out)
    solo60("migrate")
    sound = solo60("doctor")
    payment_url = database_url_of(server_url, "payment")
    asyncio.run(execute(superuser_url_of(payment_url), BREAK_THE_LEDGER))
    asyncio.run(execute(database_url_of(server_url, "user"), "delete from schema_migrations where version = '0012'"))
    broken = solo60("doctor", "--json")
    lines = solo60("doctor").out.splitlines()
    narrow = {columns: solo60_in_terminal("doctor", columns=columns)[1] for columns in (80, 130)}

    assert {entry["trouble"] for entry in before.values()} == {
        "The database cannot be reached (InvalidCatalogNameError)."
    }
    assert (sound.exit_code, sound.out) == (0, "".join(f"{name}: sound\n" for name in SERVICE_NAMES))
    assert broken.exit_code == 1
    report = json.loads(broken.out)
    assert [name for name in SERVICE_NAMES if not report[name]["sound"]] == ["user", "payment"]
    assert report["user"]["pending_migrations"] == ["0012"]
    (violation,) = report["payment"]["violations"]
    assert (violation["view"], violation["count"], len(violation["examples"])) == ("violation_sum_not_zero", 4, 4)
    assert violation["examples"][0].keys() == {"transaction_id", "currency", "excess"}
    assert all(row["transaction_id"] in shown for row in violation["examples"] for shown in narrow.values())
    assert "user: migrations are missing: 0012 (`solo60 migrate` applies them)" in lines
    assert "payment: violation_sum_not_zero has 4 rows:" in lines


def test_doctor_reports_a_superuser_connection(
    solo60: Solo60, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor` exits with 1 when DATABASE_URL names a superuser, because revoked privileges do not bind superusers."""
    solo60("migrate")
    monkeypatch.setenv("DATABASE_URL", superuser_url_of(server_url))

    done = solo60("doctor", "--json")

    assert done.exit_code == 1
    assert all(entry["superuser"] for entry in json.loads(done.out).values())


@pytest.mark.requirement("S1")
@pytest.mark.usefixtures("server_url")
def test_doctor_reports_keys_with_needless_scopes(solo60: Solo60, tmp_path: Path) -> None:
    """`doctor` exits with 1 and names each valid key with scopes that its caller does not need, and no other key."""
    solo60("migrate")
    for arguments in (("operator",), ("--for", "gym"), ("canary", "--for", "session")):
        solo60("keys", "issue", *arguments)
    sound = solo60("doctor")
    solo60("keys", "issue", "gym", "--scope", "session.react", "--scope", "gym.write", "--scope", "gym.read")
    keyring = KeyringFile(tmp_path / "keyring.json")
    keyring.issue("canary", {"session.raed"})
    *_, of_gym, of_canary = [record.key_id for record in keyring.records()]

    lines = [line for line in solo60("doctor").out.splitlines() if line.startswith("KEYRING_FILE")]
    report = json.loads(solo60("doctor", "--json").out)
    solo60("keys", "revoke", of_gym)
    solo60("keys", "revoke", of_canary)

    end = "(issue another key with `solo60 keys issue`, then `solo60 keys revoke {}`)"
    assert sound.exit_code == 0
    assert lines == [
        f"KEYRING_FILE: key {of_gym} of gym has needless scopes: gym.read, gym.write {end.format(of_gym)}",
        f"KEYRING_FILE: key {of_canary} of canary has needless scopes: session.raed {end.format(of_canary)}",
    ]
    assert report["keyring"] == {"sound": False, "troubles": lines}
    assert solo60("doctor").exit_code == 0


@pytest.mark.usefixtures("server_url")
def test_doctor_reports_an_unreadable_keyring(solo60: Solo60, tmp_path: Path) -> None:
    """`doctor` exits with 1 and names a file that is not a keyring, after the state of the databases."""
    solo60("migrate")
    (tmp_path / "keyring.json").write_text("a diary")

    done = solo60("doctor")

    assert done.exit_code == 1
    assert done.out.splitlines()[-1] == f"KEYRING_FILE: {tmp_path / 'keyring.json'} is not a keyring."
