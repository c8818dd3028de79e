"""The `solo60` command: one module for each verb."""
