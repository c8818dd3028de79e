from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.scopes import all_scopes, scopes_of_caller
from contracts.services import SERVICE_NAMES
from local.keys import write_key
from mesh.serving.key_uses import KeyUses
from mesh.serving.keyring_file import parse_keyring

if TYPE_CHECKING:
    from pathlib import Path

    from interceptors.keys.keyring import Keyring
    from tests.cli.conftest import Solo60


def keyring_in(folder: Path) -> Keyring:
    """Read the keyring in a data folder."""
    return parse_keyring((folder / "keyring.json").read_text())


@pytest.mark.requirement("S1")
def test_a_key_for_a_service_has_the_scopes_of_its_contract(solo60: Solo60, tmp_path: Path) -> None:
    """A service's key has exactly the scopes of its contract. Only standard output shows the key."""
    done = solo60("keys", "issue", "session")

    record = keyring_in(tmp_path).find(done.out.strip(), datetime.now(UTC))
    assert done.exit_code == 0
    assert record is not None
    assert (record.caller, record.scopes) == ("session", scopes_of_caller("session"))
    assert done.out.strip() not in done.err
    assert done.out.strip() not in (tmp_path / "keyring.json").read_text()


@pytest.mark.requirement("S1")
@pytest.mark.parametrize(("arguments", "caller"), [((), "session"), (("canary",), "canary"), (("user",), "user")])
def test_a_key_may_have_the_scopes_of_a_named_service(
    solo60: Solo60, tmp_path: Path, arguments: tuple[str, ...], caller: str
) -> None:
    """`--for SERVICE` gives a key exactly the scopes of that service. Without CALLER, the service is the caller."""
    key = solo60("keys", "issue", *arguments, "--for", "session").out.strip()

    record = keyring_in(tmp_path).find(key, datetime.now(UTC))
    assert record is not None
    assert (record.caller, record.scopes) == (caller, scopes_of_caller("session"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Give the key a CALLER, such as `solo60 keys issue session`.\n"),
        (("canary", "--for", "sesion"), f'"sesion" is not a service. Services: {", ".join(SERVICE_NAMES)}.\n'),
        (("canary", "--for", "operator"), f'"operator" is not a service. Services: {", ".join(SERVICE_NAMES)}.\n'),
        (
            ("canary", "--for", "session", "--scope", "gym.read"),
            "--scope and --for exclude each other: --for already gives the scopes of a service.\n",
        ),
    ],
)
def test_a_key_without_clear_scopes_is_not_issued(
    solo60: Solo60, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    """`keys issue` exits with 1, one sentence and no keyring if the caller is missing or `--for` is unusable."""
    done = solo60("keys", "issue", *arguments)

    assert (done.exit_code, done.out, done.err) == (1, "", sentence)
    assert not (tmp_path / "keyring.json").exists()


def test_the_operator_has_every_scope(solo60: Solo60, tmp_path: Path) -> None:
    """The key of "operator" has every scope by default."""
    key = solo60("keys", "issue", "operator").out.strip()

    record = keyring_in(tmp_path).find(key, datetime.now(UTC))
    assert record is not None
    assert record.scopes == all_scopes()


def test_a_key_for_another_caller_has_the_given_scopes(solo60: Solo60, tmp_path: Path) -> None:
    """A caller without a contract gets exactly the scopes of `--scope`, or no key without that option."""
    assert solo60("keys", "issue", "billing").exit_code == 1
    key = solo60("keys", "issue", "billing", "--scope", "payment.read", "--scope", "gym.read").out.strip()

    record = keyring_in(tmp_path).find(key, datetime.now(UTC))
    assert record is not None
    assert record.scopes == {"payment.read", "gym.read"}


def test_an_unknown_scope_is_rejected(solo60: Solo60, tmp_path: Path) -> None:
    """`keys issue` rejects a scope that no method requires, lists similar scopes, and writes no keyring."""
    done = solo60("keys", "issue", "billing", "--scope", "payment.raed")

    assert done.exit_code == 1
    assert (
        done.err
        == '--scope: no method requires "payment.raed". Use one of payment.read, payment.erase, payment.refund.\n'
    )
    assert not (tmp_path / "keyring.json").exists()


@pytest.mark.requirement("S2")
def test_keys_are_listed_without_their_secrets(solo60: Solo60) -> None:
    """`keys list` shows the caller and state of each key, but never the key itself."""
    key = solo60("keys", "issue", "gym").out.strip()

    listed = solo60("keys", "list", "--json")

    assert [(entry["caller"], entry["state"]) for entry in json.loads(listed.out)] == [("gym", "valid")]
    assert key not in listed.out
    assert key not in solo60("keys", "list").out


@pytest.mark.requirement("S2")
def test_after_rotation_both_keys_are_valid_until_the_overlap_ends(solo60: Solo60, tmp_path: Path) -> None:
    """After `keys rotate`, the old key is valid until the overlap ends, and the new key is valid beyond that."""
    old = solo60("keys", "issue", "gym").out.strip()

    new = solo60("keys", "rotate", "gym", "--overlap", "30m").out.strip()

    now, keyring = datetime.now(UTC), keyring_in(tmp_path)
    assert keyring.find(old, now) is not None
    assert keyring.find(old, now + timedelta(minutes=31)) is None
    assert keyring.find(new, now + timedelta(minutes=31)) is not None


@pytest.mark.requirement("S2")
def test_rotation_replaces_the_key_file_of_a_service(solo60: Solo60, tmp_path: Path) -> None:
    """`keys rotate` writes the new key into the service's key file with mode 0600 and does not print it."""
    path = tmp_path / "keys" / "gym"
    write_key(path, solo60("keys", "issue", "gym").out.strip())
    old = path.read_text()

    done = solo60("keys", "rotate", "gym")

    assert path.read_text() != old
    assert keyring_in(tmp_path).find(path.read_text().strip(), datetime.now(UTC)) is not None
    assert path.read_text().strip() not in done.out + done.err
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.requirement("S2")
def test_a_revoked_key_is_no_longer_valid(solo60: Solo60, tmp_path: Path) -> None:
    """`keys revoke` with the id of a key makes that key invalid at once."""
    key = solo60("keys", "issue", "gym").out.strip()
    (entry,) = json.loads(solo60("keys", "list", "--json").out)

    assert solo60("keys", "revoke", entry["key_id"]).exit_code == 0

    assert keyring_in(tmp_path).find(key, datetime.now(UTC)) is None


def test_revoking_the_last_key_with_every_scope_is_answered_with_the_way_back(solo60: Solo60, tmp_path: Path) -> None:
    """`keys revoke` says when no valid key has every scope any more, and only then."""
    for _ in range(2):
        solo60("keys", "issue", "operator")
    first, second = (record.key_id for record in keyring_in(tmp_path))

    assert solo60("keys", "revoke", first).err == ""
    warned = solo60("keys", "revoke", second)

    assert warned.exit_code == 0
    assert warned.err.startswith("It was the last valid key with every scope, which the operator needs: `solo60 keys ")
    assert solo60("keys", "revoke", second).err == ""


@pytest.mark.parametrize("arguments", [("list",), ("issue", "gym"), ("rotate", "gym"), ("revoke", "nothing")])
def test_a_file_that_is_not_a_keyring_is_named_and_unchanged(
    solo60: Solo60, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """If KEYRING_FILE is not a keyring, every `keys` command exits with 2, names the file, and leaves it unchanged."""
    path = tmp_path / "keyring.json"
    path.write_text("a diary")

    done = solo60("keys", *arguments)

    assert (done.exit_code, done.out, done.err) == (2, "", f"KEYRING_FILE: {path} is not a keyring.\n")
    assert path.read_text() == "a diary"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("revoke", "nothing"), 'There is no key with the id "nothing". List all ids with `solo60 keys list`.\n'),
        (("rotate", "gym"), '"gym" has no valid key. Issue one with `solo60 keys issue gym`.\n'),
        (
            ("rotate", "gym", "--overlap", "soon"),
            '--overlap: "soon" is not a duration such as 100ms, 30m, 24h or 7d.\n',
        ),
    ],
)
def test_an_impossible_request_fails_with_one_sentence(
    solo60: Solo60, arguments: tuple[str, ...], sentence: str
) -> None:
    """`keys` exits with 1 and one sentence for an unknown id, a caller without a valid key, and an invalid overlap."""
    done = solo60("keys", *arguments)

    assert (done.exit_code, done.out, done.err) == (1, "", sentence)


@pytest.mark.parametrize("caller", ["", "  ", "../gym", "a\nb", "-x", "a" * 65])
def test_an_unusable_caller_name_is_rejected(solo60: Solo60, tmp_path: Path, caller: str) -> None:
    """`keys issue` rejects a caller name that cannot be used in logs, metrics and file names."""
    done = solo60("keys", "issue", "--scope", "gym.read", "--", caller)

    assert done.exit_code == 1
    assert "is not a valid caller name" in done.err
    assert not (tmp_path / "keyring.json").exists()


def test_a_new_key_for_a_service_of_the_local_mesh_goes_into_its_file(solo60: Solo60, tmp_path: Path) -> None:
    """In a local mesh, `keys issue` writes a service's key into its key file with mode 0600 and does not print it."""
    write_key(tmp_path / "keys" / "user", "any")

    done = solo60("keys", "issue", "gym")

    path = tmp_path / "keys" / "gym"
    assert keyring_in(tmp_path).find(path.read_text().strip(), datetime.now(UTC)) is not None
    assert path.read_text().strip() not in done.out + done.err
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_list_shows_when_a_key_was_created_and_last_used(solo60: Solo60, tmp_path: Path) -> None:
    """`keys list` shows the creation time and last use of each key, and its whole id."""
    solo60("keys", "issue", "gym")
    [record] = keyring_in(tmp_path)
    [unused] = json.loads(solo60("keys", "list", "--json").out)
    KeyUses(tmp_path / "keyring.json").add({record.key_id: 1_700_000_000.0})

    [used] = json.loads(solo60("keys", "list", "--json").out)

    assert (unused["created"], unused["last_used"]) == (record.not_before.isoformat(), None)
    assert used["last_used"] == "2023-11-14T22:13:20+00:00"
    assert record.key_id in solo60("keys", "list").out
