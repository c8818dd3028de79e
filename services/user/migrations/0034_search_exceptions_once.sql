-- migrate:up transaction:false
-- `users_exceptions_filter` serves the same searches.
drop index concurrently if exists users_exceptions_search;

-- migrate:down transaction:false
create index concurrently if not exists users_exceptions_search on users using gin (
    (' ' || casefold(display_name collate pg_unicode_fast) || ' ' || casefold(email collate pg_unicode_fast))
    gin_trgm_ops
) where state <> 'USER_STATE_ACTIVE' or roles && array['ROLE_ADMIN', 'ROLE_OWNER'];
