"""Numbers of error reasons."""

from __future__ import annotations

# Reasons below this number belong to the mesh: any method may return them.
FIRST_DOMAIN_REASON = 100
