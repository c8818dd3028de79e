"""Entry point of the `solo60` command."""

from mesh.loading import loading

with loading():
    from cli.main import main

__all__ = ["main"]
