-- migrate:up transaction:false
drop index concurrently if exists messages_sent;

-- migrate:down transaction:false
create index concurrently if not exists messages_sent on messages (create_time) where status = 'SENT';
