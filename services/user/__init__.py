"""The user service: accounts with their email addresses, roles and states."""
