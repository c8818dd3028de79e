-- migrate:up
-- The ids in the request and the response, by which an erasure finds the row. Null if neither can contain personal data.
alter table idempotency_keys add column subject_ids uuid[];

-- migrate:down
alter table idempotency_keys drop column subject_ids;
