"""The `solo60` command as a module: python -m cli."""

from cli.start import main

main()
