-- migrate:up transaction:false
create index concurrently if not exists messages_subject_user on messages (subject_user_id)
    where subject_user_id is not null;

-- migrate:down transaction:false
drop index concurrently if exists messages_subject_user;
