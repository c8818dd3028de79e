-- migrate:up

-- Reason for holding a webhook that is not processed yet, or 'dismissed' if an operator settled it without effect.
alter table webhooks
    add column hold_reason text,
    -- Id of the card processor's subscription in a held webhook.
    add column processor_id text;

-- Links from the card processor's subscriptions to ours, set by webhooks or by an operator. Null: not ours.
create table processor_subscriptions (
    processor_id text primary key,
    subscription_id uuid references subscriptions,
    create_time timestamptz not null
);

-- A webhook that is not processed within an hour needs an operator.
create view violation_webhook_not_acted_upon as
    select scheme, webhook_id, hold_reason, processor_id, receive_time from webhooks
    where event is null and receive_time < now() - interval '1 hour';

-- migrate:down
drop view violation_webhook_not_acted_upon;
drop table processor_subscriptions;
alter table webhooks drop column hold_reason, drop column processor_id;
