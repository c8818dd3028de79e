from __future__ import annotations

from tests.support.local_mesh import local_mesh, stopped_mesh

__all__ = ["local_mesh", "stopped_mesh"]
