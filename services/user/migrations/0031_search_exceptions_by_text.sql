-- migrate:up transaction:false
-- As `users_search`, for the users of `users_exceptions` alone: a search by text among them read all of them.
create index concurrently if not exists users_exceptions_search on users using gin (
    (' ' || casefold(display_name collate pg_unicode_fast) || ' ' || casefold(email collate pg_unicode_fast))
    gin_trgm_ops
) where state <> 'USER_STATE_ACTIVE' or roles && array['ROLE_ADMIN', 'ROLE_OWNER'];

-- migrate:down transaction:false
drop index concurrently if exists users_exceptions_search;
