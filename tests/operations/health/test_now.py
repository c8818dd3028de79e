from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.config import Settings
from mesh.failure import Failure
from mesh.serving.channel import Channels
from operations.health.diagnosis import MeshState
from operations.health.now import NowReader
from operations.health.problems import Harm

if TYPE_CHECKING:
    from pathlib import Path

    from operations.health.report import Report


async def _no_services() -> tuple[Report, MeshState]:
    return {}, MeshState(runs=False)


async def _no_health() -> tuple[Report, MeshState]:
    raise Failure("the key is gone")


async def test_each_source_fails_alone(tmp_path: Path) -> None:
    """A source that cannot be read is a problem with its reason, and the others are read."""
    (tmp_path / "keyring.json").write_text("not a keyring")
    (tmp_path / "logs" / "gym.jsonl").mkdir(parents=True)
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]  # of pydantic-settings
    channels = Channels(settings, lambda: "key")

    found = await NowReader(settings, channels, _no_health).read()

    await channels.close()
    assert [(each.harm, each.subject) for each in found.problems] == [
        (Harm.UNKNOWN, "health of the services"),
        (Harm.UNKNOWN, "logs"),
        (Harm.UNKNOWN, "keyring"),
    ]
    assert found.problems[0].sentence == "The health of the services cannot be read: The key is gone."
    assert not found.is_calm


async def test_a_calm_mesh_has_facts(tmp_path: Path) -> None:
    """Without problems, the facts give numbers with units, and the JSON says that all is calm."""
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]  # of pydantic-settings
    channels = Channels(settings, lambda: "key")

    found = await NowReader(settings, channels, _no_services).read()

    await channels.close()
    assert found.is_calm
    assert found.facts() == {
        "services": "0 of 0 SERVING",
        "mesh up since": "no mesh runs in DATA_DIR",
        "outboxes": "0 messages due, 0 dead letters",
        "last error in the logs": "none",
    }
    assert found.as_json()["calm"] is True
