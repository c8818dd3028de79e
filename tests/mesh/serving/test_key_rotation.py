from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.serving.watched_file import RELOAD_INTERVAL_S
from tests.support.rotation import rotate_under_load

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_rotation_fails_no_call(tmp_path: Path) -> None:
    """Rotating a key under load, including the final revocation, fails no call.

    A revocation takes effect within a second. The long form of this test is in tests/soak.
    """
    assert 2 * RELOAD_INTERVAL_S < 1

    answers = await rotate_under_load(tmp_path, rotations=2)

    assert set(answers) == {"hi"}
    assert len(answers) > 20
