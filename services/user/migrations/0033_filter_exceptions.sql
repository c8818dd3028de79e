-- migrate:up transaction:false
-- Replaces `users_exceptions_search`, and adds state and roles. Without these columns, two searches read all exceptions:
-- one by a name without a suspended user, and one for the few owners.
create index concurrently if not exists users_exceptions_filter on users using gin (
    state,
    roles,
    (' ' || casefold(display_name collate pg_unicode_fast) || ' ' || casefold(email collate pg_unicode_fast))
    gin_trgm_ops
) where state <> 'USER_STATE_ACTIVE' or roles && array['ROLE_ADMIN', 'ROLE_OWNER'];

-- migrate:down transaction:false
drop index concurrently if exists users_exceptions_filter;
