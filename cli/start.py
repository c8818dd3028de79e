"""Start of the command line."""

from mesh.loading import loading

with loading():
    from cli.main import main

__all__ = ["main"]
