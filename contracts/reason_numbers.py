"""Numbers of error reasons, for code that must not import generated code, such as plugins of `buf generate`."""

from __future__ import annotations

# Reasons below this number belong to the mesh: any method may return them.
FIRST_DOMAIN_REASON = 100
