-- migrate:up

alter table subscriptions
    -- Deadlines count from here at the earliest. So no subscription is past due on the day of this migration for webhooks
    -- that older versions did not act upon.
    add column watch_time timestamptz not null default now(),
    -- Deadlines up to this time have been acted upon. Null: an older version stored the row, and nothing watches it yet.
    add column told_time timestamptz,
    -- The end that the card processor has reported. A planned cancellation alone can be taken back.
    add column processor_end_time timestamptz;

update subscriptions set processor_end_time = end_time where end_time is not null and cancel_time is null;

-- One trial for each user, for ever.
create table trials (
    user_id uuid primary key,
    subscription_id uuid not null references subscriptions,
    create_time timestamptz not null
);

insert into trials (user_id, subscription_id, create_time)
    select distinct on (user_id) user_id, subscription_id, create_time
    from subscriptions where is_trial order by user_id, create_time;

-- Nobody subscribes a user who has left.
create table left_users (
    user_id uuid primary key,
    create_time timestamptz not null
);

-- migrate:down
drop table left_users, trials;
alter table subscriptions drop column processor_end_time, drop column told_time, drop column watch_time;
