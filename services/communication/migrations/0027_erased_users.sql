-- migrate:up
-- A message to or about one of these users is stored without recipient and text.
create table erased_users (
    user_id uuid primary key,
    erase_time timestamptz not null
);

-- Another user whom the text names, such as the host of a guest; null if there is none.
alter table messages add column subject_user_id uuid;

create view violation_message_of_erased_user as
    select message_id from messages join erased_users on erased_users.user_id in (messages.user_id, subject_user_id)
    where recipients <> '{}' or mail <> '';

-- migrate:down
drop view violation_message_of_erased_user;
alter table messages drop column subject_user_id;
drop table erased_users;
