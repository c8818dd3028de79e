-- migrate:up transaction:false
create index concurrently if not exists processor_subscriptions_by_subscription
    on processor_subscriptions (subscription_id, create_time);

-- migrate:down transaction:false
drop index concurrently if exists processor_subscriptions_by_subscription;
