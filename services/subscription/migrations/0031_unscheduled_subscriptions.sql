-- migrate:up transaction:false
-- Subscriptions of an older version. There are hardly any, and each start of the service looks for them.
create index concurrently if not exists subscriptions_unscheduled on subscriptions (subscription_id)
    where told_time is null and end_time is null;

-- migrate:down transaction:false
drop index concurrently if exists subscriptions_unscheduled;
