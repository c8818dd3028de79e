-- migrate:up
-- The ids in the request and the response, if one of both contains personal data: an erasure finds the row by them.
alter table idempotency_keys add column subject_ids uuid[];

-- migrate:down
alter table idempotency_keys drop column subject_ids;
