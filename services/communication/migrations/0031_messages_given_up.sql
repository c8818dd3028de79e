-- migrate:up transaction:false
-- A list of failed messages must not read those that users have switched off. Replaces `messages_failed`.
create index concurrently if not exists messages_given_up on messages (create_time, message_id)
    where status in ('FAILED', 'DEAD') and not is_suppressed;

-- migrate:down transaction:false
drop index concurrently if exists messages_given_up;
