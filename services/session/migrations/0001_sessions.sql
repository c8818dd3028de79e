-- migrate:up

-- For `gym_id with =` beside `period with &&` in one constraint.
create extension if not exists btree_gist;

-- The row that whoever books a gym locks first: contention queues here. The constraint below is no queue: of many
-- inserts that wait for each other in it, all but one may end as victims of a deadlock.
create table calendars (
    gym_id uuid primary key
);

create table sessions (
    session_id uuid primary key default uuidv7(),
    user_id uuid not null,
    gym_id uuid not null references calendars,
    period tstzrange not null,
    status text not null check (
        status in ('pending_payment', 'pending_approval', 'confirmed', 'cancelled', 'rejected', 'completed')
    ),
    -- The quote with which it is booked.
    currency text not null,
    minor_units bigint not null check (minor_units > 0),
    credits bigint not null check (credits > 0),
    noise_policy text not null,
    requires_approval boolean not null,
    -- Which of the two prices is taken.
    paid_in text not null check (paid_in in ('credits', 'card')),
    cancel_reason text not null default '',
    create_time timestamptz not null,
    update_time timestamptz not null,

    -- Which call books it. A booking that failed gives its key back, so that the same call may begin anew.
    caller text not null,
    idempotency_key text,
    request_sha256 bytea not null,
    correlation_id text not null,
    -- What that call was answered, once it was: a repetition is answered alike.
    booking_response bytea,

    -- What is left to be done about it.
    refund_due boolean not null default false,
    -- Keys of mail templates, in the order of sending.
    mails_due text[] not null default '{}',
    -- When that is tried again; a session still pending has expired then. Null: there is nothing left to be done.
    due_time timestamptz,
    due_attempts integer not null default 0,

    unique (caller, idempotency_key),
    check (lower(period) is not null and upper(period) is not null and not isempty(period)),
    check (lower_inc(period) and not upper_inc(period)),
    check ((due_time is not null) = (status = 'pending_payment' or refund_due or mails_due <> '{}')),
    constraint sessions_never_overlap exclude using gist (gym_id with =, period with &&)
        where (status in ('pending_payment', 'pending_approval', 'confirmed'))
);

create index sessions_of_user on sessions (user_id, lower(period) desc, session_id desc);
create index sessions_due on sessions (due_time) where due_time is not null;
create index sessions_confirmed on sessions (upper(period)) where status = 'confirmed';

-- Watchers in every process of the service hear of each change when it is committed, whoever makes it.
create function announce_availability() returns trigger language plpgsql as $$
begin
    perform pg_notify('availability', new.gym_id::text);
    return null;
end $$;

create trigger sessions_announce_availability after insert or update of status on sessions
    for each row execute function announce_availability();

-- migrate:down

drop table sessions, calendars;
drop function announce_availability;
