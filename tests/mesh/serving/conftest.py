"""Fixtures: settings and servicer of an echo service with the whole mesh runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from interceptors.keys.keyring import record_of_key
from mesh.config import Settings
from mesh.serving.keyring_file import format_keyring
from tests.mesh.serving.served_echo import KEY
from tests.support.echo import SCOPES, EchoServicer
from tests.support.serving import DEADLINE_FACTOR, NO_SHEDDING

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path, mesh_database_url: str) -> Settings:
    """Make settings with a database and a keyring that holds one key."""
    keyring = tmp_path / "keyring.json"
    keyring.write_text(format_keyring([record_of_key(KEY, "tester", [*SCOPES, "mesh.inspect", "outbox.read"])]))
    return Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings' own argument
        keyring_file=keyring,
        service_api_key=SecretStr(KEY),
        database_url=SecretStr(mesh_database_url),
        drain_wait_s=0,
        drain_grace_s=5,
        deadline_factor=DEADLINE_FACTOR,
        **NO_SHEDDING,  # type: ignore[arg-type]  # any settings
    )


@pytest.fixture
def servicer() -> EchoServicer:
    """Make the servicer of the test's server."""
    return EchoServicer()
