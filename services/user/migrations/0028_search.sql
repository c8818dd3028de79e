-- migrate:up transaction:false
-- The expression is that of services/user/search.py. The space before each text lets a search find the beginning of it.
create index concurrently if not exists users_search on users using gin (
    (' ' || casefold(display_name collate pg_unicode_fast) || ' ' || casefold(email collate pg_unicode_fast))
    gin_trgm_ops
);

-- migrate:down transaction:false
drop index concurrently if exists users_search;
