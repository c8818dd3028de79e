-- migrate:up
create table users (
    user_id uuid primary key default uuidv7(),
    email text not null,
    -- Addresses are equal without regard to case.
    folded_email text collate pg_unicode_fast not null
        generated always as (casefold(email collate pg_unicode_fast)) stored unique,
    display_name text not null,
    roles text[] not null check (roles <@ array['ROLE_MEMBER', 'ROLE_ADMIN', 'ROLE_OWNER'] and cardinality(roles) > 0),
    state text not null check (state in ('USER_STATE_ACTIVE', 'USER_STATE_SUSPENDED', 'USER_STATE_DELETED')),
    email_confirmed boolean not null,
    time_zone text not null,
    create_time timestamptz not null,
    update_time timestamptz not null
);

create table idempotency_keys (
    caller text not null,
    request_type text not null,
    key text not null,
    request_sha256 bytea not null,
    response bytea,
    create_time timestamptz not null default now(),
    primary key (caller, request_type, key)
);

-- migrate:down
drop table idempotency_keys;
drop table users;
