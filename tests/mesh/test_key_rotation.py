from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.watched_file import RELOAD_INTERVAL_S
from tests.support.rotation import rotate_under_load

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_rotation_fails_no_call(tmp_path: Path) -> None:
    """Nor does the revocation at its end, which holds within a second; tests/soak has the long form."""
    assert 2 * RELOAD_INTERVAL_S < 1

    answers = await rotate_under_load(tmp_path, rotations=2)

    assert set(answers) == {"hi"}
    assert len(answers) > 20
