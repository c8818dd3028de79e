-- migrate:up

-- As in 000001, some or all of this exists in a database of an earlier release.
create table if not exists outbox (
    message_id uuid primary key,
    -- Delivery order of the messages of one aggregate. It is the order of their transactions, because each of these
    -- locks the aggregate first. All other messages are claimed by time.
    sequence bigint generated always as identity,
    -- The called method, "package.Service/Method", and its serialized request.
    destination text not null,
    payload bytea not null,
    event text not null default '',
    aggregate_key text,
    cancel_key text,
    correlation_id text not null,
    traceparent text not null,
    status text not null default 'pending' check (status in ('pending', 'delivered', 'dead')),
    attempts integer not null default 0 check (attempts >= 0),
    last_error text not null default '' check (length(last_error) <= 500),
    -- Time of the next attempt, or end of the lease of the current attempt.
    due_time timestamptz default now(),
    -- The relay that holds the lease.
    lease_holder uuid,
    -- Earliest time of delivery.
    deliver_time timestamptz not null default now(),
    create_time timestamptz not null default now(),
    settle_time timestamptz,
    check ((due_time is not null) = (status = 'pending')),
    check ((settle_time is not null) = (status <> 'pending')),
    check (lease_holder is null or status = 'pending')
)
-- A row changes a few times and then never again, so vacuum follows the number of dead rows, not their share.
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- The indexes for claims contain only pending rows, so a claim costs the same with a million delivered rows.
create index if not exists outbox_due on outbox (due_time) where status = 'pending';
create index if not exists outbox_order on outbox (destination, aggregate_key, sequence)
    where status = 'pending' and aggregate_key is not null;
create index if not exists outbox_cancellable on outbox (cancel_key)
    where status = 'pending' and cancel_key is not null;
create index if not exists outbox_delivered on outbox (settle_time) where status = 'delivered';
create index if not exists outbox_dead on outbox (destination) where status = 'dead';

create or replace function announce_outbox() returns trigger language plpgsql as $$
begin
    notify outbox;
    return null;
end $$;

create or replace trigger outbox_announce after insert on outbox for each statement execute function announce_outbox();

-- migrate:down
drop table outbox;
drop function announce_outbox;
