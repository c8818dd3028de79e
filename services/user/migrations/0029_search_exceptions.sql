-- migrate:up transaction:false
-- The users whom a search by role or state looks for, among many active members. The condition is that of
-- services/user/search.py.
create index concurrently if not exists users_exceptions on users (user_id)
    where state <> 'USER_STATE_ACTIVE' or roles && array['ROLE_ADMIN', 'ROLE_OWNER'];

-- migrate:down transaction:false
drop index concurrently if exists users_exceptions;
