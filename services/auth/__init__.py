"""The auth service: passwords, log-ins with access and refresh tokens, and codes sent by mail."""
