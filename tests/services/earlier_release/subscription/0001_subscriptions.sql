-- migrate:up

-- For `user_id with =` beside a range in one constraint.
create extension if not exists btree_gist;

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

create table plans (
    plan_id uuid primary key,
    name text not null unique,
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    minor_units bigint not null check (minor_units > 0),
    credits_per_month bigint not null check (credits_per_month between 1 and 1000000),
    trial_days integer not null check (trial_days between 0 and 90)
);

create index plans_by_price on plans (minor_units, plan_id);

insert into plans (plan_id, name, currency, minor_units, credits_per_month, trial_days) values
    ('01980000-0000-7000-8000-000000000004', 'Four hours', 'GBP', 3900, 40, 0),
    ('01980000-0000-7000-8000-00000000000a', 'Ten hours', 'GBP', 8900, 100, 14),
    ('01980000-0000-7000-8000-000000000014', 'Twenty hours', 'GBP', 15900, 200, 14);

-- What is known of a subscription. Where it stands follows from that and from what time it is: no row changes because time
-- passes.
create table subscriptions (
    subscription_id uuid primary key,
    user_id uuid not null,
    plan_id uuid not null references plans,
    first_period tstzrange not null check (not isempty(first_period)),
    is_trial boolean not null,
    -- The latest that is paid.
    paid_period tstzrange check (not isempty(paid_period)),
    -- The latest charge that failed.
    failed_period_start timestamptz,
    fail_time timestamptz,
    retry_time timestamptz,
    cancel_time timestamptz,
    -- When it ended or is going to.
    end_time timestamptz,
    create_time timestamptz not null,
    check (is_trial or paid_period is not null),
    check ((fail_time is null) = (failed_period_start is null)),
    check (retry_time is null or fail_time is not null),
    check (cancel_time is null or end_time is not null),
    -- A user has one at a time. One that is ended as of a time before it began was never there.
    constraint subscriptions_one_at_a_time exclude using gist (
        user_id with =,
        (tstzrange(create_time, case when end_time >= create_time then end_time
                                     when end_time < create_time then create_time end)) with &&
    )
);

create index subscriptions_of_user on subscriptions (user_id, create_time);

-- The months whose credits are granted, each once.
create table granted_months (
    subscription_id uuid not null references subscriptions,
    month text not null check (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    credits bigint not null check (credits > 0),
    create_time timestamptz not null,
    primary key (subscription_id, month)
);

-- Webhooks as they came, until they are acted upon, and then their ids, so that none acts twice.
create table webhooks (
    scheme text not null check (scheme in ('standard', 'processor')),
    webhook_id text not null,
    payload bytea,
    -- What it reported, once it was acted upon.
    event text check (event in ('payment_failed', 'trial_ending', 'renewed', 'ignored', 'ended')),
    receive_time timestamptz not null,
    primary key (scheme, webhook_id),
    check ((payload is null) = (event is not null))
);

create index webhooks_by_age on webhooks (receive_time);
create index webhooks_left_over on webhooks (receive_time) where event is null;

create view violation_key_without_answer as
    select caller, request_type, key from idempotency_keys where response is null;

-- The constraint says the same, for as long as it is there.
create view violation_subscriptions_overlap as
    select a.subscription_id, b.subscription_id as other_subscription_id
    from subscriptions as a join subscriptions as b on a.user_id = b.user_id and a.subscription_id < b.subscription_id
    where coalesce(a.end_time > b.create_time, true) and coalesce(b.end_time > a.create_time, true)
        and coalesce(a.end_time > a.create_time, true) and coalesce(b.end_time > b.create_time, true);

-- Credits come with the beginning, and with each period that is paid.
create view violation_month_not_granted as
    select subscription_id, month
    from subscriptions cross join lateral (
        values (to_char(lower(first_period) at time zone 'UTC', 'YYYY-MM')),
            (to_char(lower(paid_period) at time zone 'UTC', 'YYYY-MM'))
    ) as due (month)
    where month is not null and not exists (
        select from granted_months as granted
        where granted.subscription_id = subscriptions.subscription_id and granted.month = due.month
    );

-- migrate:down
drop view violation_month_not_granted, violation_subscriptions_overlap, violation_key_without_answer;
drop table webhooks, granted_months, subscriptions, plans, idempotency_keys;
