"""The `solo60` command: one module per verb."""
