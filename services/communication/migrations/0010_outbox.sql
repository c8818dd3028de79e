-- migrate:up
create table outbox (
    message_id uuid primary key,
    -- Delivery order of messages of one aggregate, equal to the order of their transactions: each transaction locks its
    -- aggregate first. Other messages are claimed by time.
    sequence bigint generated always as identity,
    -- Called method, "package.Service/Method". The payload is the serialized request.
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
    -- Time of the next attempt, or end of the current attempt's lease.
    due_time timestamptz default now(),
    -- Relay with the lease.
    lease_holder uuid,
    -- Earliest delivery.
    deliver_time timestamptz not null default now(),
    create_time timestamptz not null default now(),
    settle_time timestamptz,
    check ((due_time is not null) = (status = 'pending')),
    check ((settle_time is not null) = (status <> 'pending')),
    check (lease_holder is null or status = 'pending')
)
-- Each row is updated a few times and then never again. Vacuum starts after a fixed number of dead rows, because a
-- share of a growing table would delay it more and more.
with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

create index outbox_due on outbox (due_time) where status = 'pending';
create index outbox_order on outbox (destination, aggregate_key, sequence)
    where status = 'pending' and aggregate_key is not null;
create index outbox_cancellable on outbox (cancel_key) where status = 'pending' and cancel_key is not null;
create index outbox_delivered on outbox (settle_time) where status = 'delivered';
create index outbox_dead on outbox (destination) where status = 'dead';

create function announce_outbox() returns trigger language plpgsql as $$
begin
    notify outbox;
    return null;
end $$;

create trigger outbox_announce after insert on outbox for each statement execute function announce_outbox();

-- migrate:down
drop table outbox;
drop function announce_outbox;
