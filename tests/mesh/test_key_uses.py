from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from interceptors.keyring import Keyring, mint_key, record_of_key
from mesh.key_uses import KeyUses, noting_key_uses
from services.gym.app import SERVICE
from solo60.gym.v1.gym_pb2 import ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serve


def at(seconds: float) -> datetime:
    """Return an instant."""
    return datetime.fromtimestamp(seconds, UTC)


def test_many_processes_add_to_one_file(tmp_path: Path) -> None:
    """The latest use of each key stays, in any order of writers, and no note is lost."""
    path = tmp_path / "keyring.json"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: KeyUses(path).add({"shared": number, f"own{number}": number}), range(1, 41)))

    uses = KeyUses(path).last_uses()
    assert uses == {"shared": at(40), **{f"own{number}": at(number) for number in range(1, 41)}}


def test_a_file_that_tells_nothing_is_begun_anew(tmp_path: Path) -> None:
    """It is no reason to stop anything."""
    (tmp_path / "keyring.uses").write_text("[]")
    uses = KeyUses(tmp_path / "keyring.json")

    assert uses.last_uses() == {}
    uses.add({"key": 1.0})

    assert uses.last_uses() == {"key": at(1)}


async def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """As in a container that mounts the keyring alone."""
    key = mint_key("test")
    keyring = Keyring([record_of_key(key, "gym", [])])
    keyring.look_up(key, datetime.now(UTC).timestamp())

    with capture_logs() as lines:
        async with noting_key_uses(lambda: keyring, tmp_path / "nowhere" / "keyring.json"):
            pass

    assert [line["event"] for line in lines] == ["key uses cannot be recorded"]


async def test_a_service_that_stops_leaves_when_keys_were_used(serve: Serve) -> None:
    """Uses since the last minute are not lost."""
    mesh = await serve(SERVICE)
    await mesh.stub(GymServiceStub, caller="session").ListGyms(ListGymsRequest())

    await mesh.stop("gym")

    uses = KeyUses(mesh.keyring_path).last_uses()
    assert len(uses) == 1
