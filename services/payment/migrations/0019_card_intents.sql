-- migrate:up
-- The payment intent at the card processor that may take money for an idempotency key. Its id is stored before the
-- intent is confirmed, so that a repeated call confirms the same intent. Null: the charge is called off, and no intent
-- may take money for the key.
create table card_intents (
    idempotency_key text primary key,
    intent_id text unique,
    create_time timestamptz not null
);

-- migrate:down
drop table card_intents;
