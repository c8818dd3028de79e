-- migrate:up
create index idempotency_keys_by_age on idempotency_keys (create_time);

-- migrate:down
drop index idempotency_keys_by_age;
