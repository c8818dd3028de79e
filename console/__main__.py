"""Entry point of the console: python -m console."""

from mesh.loading import loading

with loading():
    from console.server import serve_console
    from mesh.serving.program import run

run("console", serve_console, needs_database=False)
