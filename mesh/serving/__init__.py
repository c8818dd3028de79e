"""Process of a service: its server, channels, health checks and keys."""
