-- migrate:up transaction:false
create index concurrently if not exists idempotency_keys_by_subject on idempotency_keys using gin (subject_ids)
    where subject_ids is not null;

-- migrate:down transaction:false
drop index concurrently if exists idempotency_keys_by_subject;
