"""PostgreSQL for services: connections, migrations, idempotency keys and notifications."""
