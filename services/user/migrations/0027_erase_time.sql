-- migrate:up
-- Time when the erasure of the user was requested. The address is empty once the erasure is complete.
alter table users add column erase_time timestamptz;

create view violation_erased_user_not_deleted as
    select user_id from users where erase_time is not null and state <> 'USER_STATE_DELETED';

create extension if not exists pg_trgm;

-- migrate:down
drop extension pg_trgm;
drop view violation_erased_user_not_deleted;
alter table users drop column erase_time;
