-- migrate:up

-- Subscriptions that the card processor was asked to start, until it has answered. The row is committed before the
-- request, so that a crash or a timeout leaves a trace. The idempotency key finds the order again.
create table subscription_orders (
    subscription_id uuid primary key,
    caller text not null,
    idempotency_key text not null,
    request_sha256 bytea not null,
    -- One order at a time, so that two orders cannot charge one user twice.
    user_id uuid not null unique,
    plan_id uuid not null references plans,
    trial_days integer not null check (trial_days between 0 and 90),
    create_time timestamptz not null,
    unique (caller, idempotency_key)
);

-- Customers at the card processor.
create table processor_customers (
    user_id uuid primary key,
    customer_id text not null unique,
    create_time timestamptz not null
);

-- Test mode only: the cards of its subscriptions. A subscription of an older version has no row, and its card is good.
create table test_cards (
    subscription_id uuid primary key,
    is_declined boolean not null
);

-- An order is settled within minutes. An older one needs an operator.
create view violation_order_not_settled as
    select subscription_id, user_id, create_time from subscription_orders
    where create_time < now() - interval '1 hour';

-- migrate:down
drop view violation_order_not_settled;
drop table test_cards, processor_customers, subscription_orders;
