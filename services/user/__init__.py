"""User service: accounts with their email addresses, roles and states."""
