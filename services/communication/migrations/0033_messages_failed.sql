-- migrate:up transaction:false
drop index concurrently if exists messages_failed;

-- migrate:down transaction:false
create index concurrently if not exists messages_failed on messages (create_time, message_id)
    where status in ('FAILED', 'DEAD');
