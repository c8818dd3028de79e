-- migrate:up

-- The services of earlier releases created these tables themselves, so in their databases some or all of this exists.
create table if not exists idempotency_keys (
    caller text not null,
    request_type text not null,
    key text not null,
    request_sha256 bytea not null,
    response bytea,
    create_time timestamptz not null default now(),
    primary key (caller, request_type, key)
);

create index if not exists idempotency_keys_by_age on idempotency_keys (create_time);

-- A key and its response are committed together, so a key without a response is an error.
create or replace view violation_key_without_answer as
    select caller, request_type, key from idempotency_keys where response is null;

-- migrate:down
drop view violation_key_without_answer;
drop table idempotency_keys;
