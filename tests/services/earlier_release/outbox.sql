-- migrate:up
create table outbox (
    message_id uuid primary key,
    -- Messages of one aggregate are delivered in this order, which is that of their transactions: they lock what they
    -- are about first. Others are claimed by time.
    sequence bigint generated always as identity,
    -- The method that is called, "package.Service/Method", with its request, serialized.
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
    -- When it is taken up: the time of the next attempt, or the end of the lease of the one under way.
    due_time timestamptz default now(),
    -- The relay that has the lease.
    lease_holder uuid,
    -- Not before this.
    deliver_time timestamptz not null default now(),
    create_time timestamptz not null default now(),
    settle_time timestamptz,
    check ((due_time is not null) = (status = 'pending')),
    check ((settle_time is not null) = (status <> 'pending')),
    check (lease_holder is null or status = 'pending')
)
-- Rows change a few times and then lie still: what they leave behind is cleared away by their number, not their share.
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
