-- migrate:up

-- Why a webhook waits: it is stored and has not acted. Or 'dismissed': an operator has settled it without effect.
alter table webhooks
    add column hold_reason text,
    -- The subscription at the card processor that a waiting webhook names.
    add column processor_id text;

-- Which subscription of ours one at the card processor is, as webhooks or an operator have said. Null: none.
create table processor_subscriptions (
    processor_id text primary key,
    subscription_id uuid references subscriptions,
    create_time timestamptz not null
);

-- Each webhook acts within the hour, or somebody has to look at it.
create view violation_webhook_not_acted_upon as
    select scheme, webhook_id, hold_reason, processor_id, receive_time from webhooks
    where event is null and receive_time < now() - interval '1 hour';

-- migrate:down
drop view violation_webhook_not_acted_upon;
drop table processor_subscriptions;
alter table webhooks drop column hold_reason, drop column processor_id;
