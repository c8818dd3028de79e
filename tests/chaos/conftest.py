from __future__ import annotations

from tests.support.local_mesh import stopped_mesh

__all__ = ["stopped_mesh"]
