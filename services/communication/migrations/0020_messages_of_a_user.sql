-- migrate:up transaction:false
create index concurrently if not exists messages_user on messages (user_id) where user_id is not null;

-- migrate:down transaction:false
drop index concurrently if exists messages_user;
