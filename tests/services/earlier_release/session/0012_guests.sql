-- migrate:up
create table guests (
    invitation_id uuid primary key default uuidv7(),
    session_id uuid not null references sessions,
    email text not null,
    -- Addresses are equal without regard to case.
    folded_email text collate pg_unicode_fast not null
        generated always as (casefold(email collate pg_unicode_fast)) stored,
    name text not null,
    create_time timestamptz not null,
    -- When the invitation was taken back.
    cancel_time timestamptz
);

-- Who was taken back may be invited again.
create unique index guests_once on guests (session_id, folded_email) where cancel_time is null;
create index guests_of_session on guests (session_id, create_time, invitation_id) where cancel_time is null;

create table idempotency_keys (
    caller text not null,
    request_type text not null,
    key text not null,
    request_sha256 bytea not null,
    response bytea,
    create_time timestamptz not null default now(),
    primary key (caller, request_type, key)
);
create index idempotency_keys_by_age on idempotency_keys (create_time);
create view violation_key_without_answer as
    select caller, request_type, key from idempotency_keys where response is null;

-- Nobody is invited before there is anything to come to.
create view violation_guest_of_nothing as
    select invitation_id from guests join sessions using (session_id)
    where status = 'pending_payment' or booking_response is null;

-- migrate:down
drop view violation_guest_of_nothing, violation_key_without_answer;
drop table idempotency_keys, guests;
