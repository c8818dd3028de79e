from __future__ import annotations

import shutil
from pathlib import Path

from mesh.data.migrations import migrate
from tests.support.postgres import connection_to

MIGRATIONS = Path(__file__).parents[3] / "services" / "user" / "migrations"
LAST_BEFORE = 10
# Statements of the version before the migration.
ADD_AS_BEFORE = """
    insert into users (email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
    values ($1, 'Ada', '{ROLE_MEMBER}', $2, false, 'UTC', now(), now())
    on conflict (folded_email) do nothing returning user_id
"""
FIND_AS_BEFORE = "select user_id from users where folded_email = casefold($1 collate pg_unicode_fast)"


async def test_deleted_users_release_their_address(empty_database_url: str, tmp_path: Path) -> None:
    """The migration releases the addresses of deleted users, and the previous version can still add and find users."""
    for path in MIGRATIONS.glob("*.sql"):
        if int(path.name.partition("_")[0]) <= LAST_BEFORE:
            shutil.copy(path, tmp_path)
    await migrate(empty_database_url, tmp_path)
    async with connection_to(empty_database_url) as connection:
        assert await connection.fetchval(ADD_AS_BEFORE, "Left@example.org", "USER_STATE_DELETED")
        member = await connection.fetchval(ADD_AS_BEFORE, "Member@example.org", "USER_STATE_ACTIVE")

    for path in MIGRATIONS.glob("*.sql"):
        shutil.copy(path, tmp_path)
    await migrate(empty_database_url, tmp_path)

    async with connection_to(empty_database_url) as connection:
        assert await connection.fetchval(ADD_AS_BEFORE, "MEMBER@example.org", "USER_STATE_ACTIVE") is None
        again = await connection.fetchval(ADD_AS_BEFORE, "LEFT@example.org", "USER_STATE_ACTIVE")
        assert await connection.fetchval(FIND_AS_BEFORE, "left@EXAMPLE.org") == again
        assert await connection.fetchval(FIND_AS_BEFORE, "member@EXAMPLE.org") == member
        assert not await connection.fetch("select from violation_address_not_folded")
