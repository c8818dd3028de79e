-- migrate:up
create table signing_keys (
    -- SHA-256 thumbprint of the public key (RFC 7638).
    key_id text primary key,
    -- Both halves are raw Ed25519 keys. The private half is deleted when the key no longer signs.
    public_key bytea not null check (length(public_key) = 32),
    private_key bytea check (length(private_key) = 32),
    -- The key signs from this time until that of its successor.
    sign_time timestamptz not null unique,
    create_time timestamptz not null
);

-- migrate:down
drop table signing_keys;
