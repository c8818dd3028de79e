"""Signing keys in PostgreSQL, shared by all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joserfc.jwk import OKPKey

from mesh import base64url
from mesh.transaction import Transaction
from services.auth.tokens.domain import (
    SigningKey,
    is_successor_due,
    new_key,
    next_sign_time,
    published_keys,
    signing_key,
)

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from mesh.data.database import Connection, Database

_LOCK = "select pg_advisory_xact_lock(hashtextextended('signing_keys', 0))"
_LOAD = "select public_key, private_key, sign_time from signing_keys order by sign_time"
_ADD = """
    insert into signing_keys (key_id, public_key, private_key, sign_time, create_time) values ($1, $2, $3, $4, $5)
"""
_FORGET_PRIVATE = "update signing_keys set private_key = null where sign_time < $1 and private_key is not null"
_DELETE = "delete from signing_keys where not key_id = any($1)"


class SigningKeyStore:
    """The signing keys of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[SigningKey]:
        """Return all keys, oldest first."""
        async with self._database.connection() as connection:
            return await _load(connection)

    async def rotate(self, now: datetime) -> list[SigningKey]:
        """Add a key if one is due, delete unused keys and private halves, and return the keys, oldest first.

        Replicas rotate one after another, so that they agree on every key.
        """
        async with Transaction.begin(self._database) as tx:
            await tx.connection.execute(_LOCK)
            keys = await _load(tx.connection)
            if is_successor_due(keys, now):
                key = new_key(next_sign_time(keys, now))
                keys.append(key)
                await _add(tx.connection, key, now)
            keys = published_keys(keys, now)
            await tx.connection.execute(_FORGET_PRIVATE, signing_key(keys, now).sign_time)
            await tx.connection.execute(_DELETE, [key.key_id for key in keys])
        return keys


async def _load(connection: Connection) -> list[SigningKey]:
    return [_key(row) for row in await connection.fetch(_LOAD)]


async def _add(connection: Connection, key: SigningKey, now: datetime) -> None:
    numbers = key.jwk.as_dict(private=True)
    public, private = (base64url.decode(str(numbers[name])) for name in ("x", "d"))
    await connection.execute(_ADD, key.key_id, public, private, key.sign_time, now)


def _key(row: asyncpg.Record) -> SigningKey:
    numbers: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(row["public_key"])}
    if row["private_key"] is not None:
        numbers["d"] = base64url.encode(row["private_key"])
    jwk = OKPKey.import_key(numbers)
    jwk.ensure_kid()
    return SigningKey(jwk, row["sign_time"])
