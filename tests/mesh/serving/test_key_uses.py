from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from interceptors.keys.keyring import Keyring, mint_key, record_of_key
from mesh.serving.key_uses import KeyUses, recording_key_uses
from services.gym.app import SERVICE
from solo60.gym.v1.gym_pb2 import ListGymsRequest
from solo60.gym.v1.gym_pb2_grpc import GymServiceStub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serve


def at(seconds: float) -> datetime:
    """Return the time that is `seconds` after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def test_concurrent_writers_lose_no_key_use(tmp_path: Path) -> None:
    """Concurrent writers lose no key use, and the file holds the latest use of each key."""
    path = tmp_path / "keyring.json"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: KeyUses(path).add({"shared": number, f"own{number}": number}), range(1, 41)))

    uses = KeyUses(path).last_uses()
    assert uses == {"shared": at(40), **{f"own{number}": at(number) for number in range(1, 41)}}


def test_an_unreadable_file_is_replaced(tmp_path: Path) -> None:
    """A file without readable key uses counts as empty, and the next write replaces it."""
    (tmp_path / "keyring.uses").write_text("[]")
    uses = KeyUses(tmp_path / "keyring.json")

    assert uses.last_uses() == {}
    uses.add({"key": 1.0})

    assert uses.last_uses() == {"key": at(1)}


async def test_an_unwritable_folder_is_logged_once(tmp_path: Path) -> None:
    """A folder that cannot be written is logged once and raises no error."""
    key = mint_key("test")
    keyring = Keyring([record_of_key(key, "gym", [])])
    keyring.look_up(key, datetime.now(UTC).timestamp())

    with capture_logs() as lines:
        async with recording_key_uses(lambda: keyring, tmp_path / "nowhere" / "keyring.json"):
            pass

    assert [line["event"] for line in lines] == ["key uses cannot be recorded"]


async def test_a_stopping_service_stores_its_key_uses(serve: Serve) -> None:
    """A service stores its latest key uses when it stops."""
    mesh = await serve(SERVICE)
    await mesh.stub(GymServiceStub, caller="session").ListGyms(ListGymsRequest())

    await mesh.stop("gym")

    uses = KeyUses(mesh.keyring_path).last_uses()
    assert len(uses) == 1
