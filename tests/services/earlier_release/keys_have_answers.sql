-- migrate:up
create view violation_key_without_answer as
    select caller, request_type, key from idempotency_keys where response is null;

-- migrate:down
drop view violation_key_without_answer;
