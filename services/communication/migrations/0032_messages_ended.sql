-- migrate:up transaction:false
-- Old messages to delete: sent, expired and switched off. Replaces `messages_sent`, which has only the sent ones.
create index concurrently if not exists messages_ended on messages (create_time) where status in ('SENT', 'DEAD');

-- migrate:down transaction:false
drop index concurrently if exists messages_ended;
