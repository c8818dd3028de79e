-- migrate:up

alter table subscriptions
    -- Deadlines count from this time at the earliest. Otherwise this migration could make subscriptions past due for
    -- webhooks that older versions did not process.
    add column watch_time timestamptz not null default now(),
    -- Latest processed deadline. Null: an older version stored the row, and its deadlines are not scheduled yet.
    add column told_time timestamptz,
    -- Final end, reported by the card processor. Only a planned cancellation can be undone.
    add column processor_end_time timestamptz;

update subscriptions set processor_end_time = end_time where end_time is not null and cancel_time is null;

-- Each user has at most one trial, ever.
create table trials (
    user_id uuid primary key,
    subscription_id uuid not null references subscriptions,
    create_time timestamptz not null
);

insert into trials (user_id, subscription_id, create_time)
    select distinct on (user_id) user_id, subscription_id, create_time
    from subscriptions where is_trial order by user_id, create_time;

-- Departed users. CreateSubscription rejects departed users.
create table left_users (
    user_id uuid primary key,
    create_time timestamptz not null
);

-- migrate:down
drop table left_users, trials;
alter table subscriptions drop column processor_end_time, drop column told_time, drop column watch_time;
