-- migrate:up

-- The address of a departed user becomes free: `folded_email` is null, and a unique constraint ignores nulls. The
-- constraint stays, because replicas of the previous version need it for their `on conflict (folded_email)`. A new
-- expression for the generated column would rewrite the table under a lock that blocks every call. A trigger needs no
-- rewrite.
--
-- The previous version never writes this column, and only compares it in queries. So it can become an ordinary, nullable
-- column.
-- squawk-ignore ban-drop-generated-expression, ban-drop-not-null
alter table users alter column folded_email drop expression, alter column folded_email drop not null;

create function fold_email() returns trigger language plpgsql as $$
begin
    new.folded_email := case when new.state <> 'USER_STATE_DELETED' then casefold(new.email collate pg_unicode_fast) end;
    return new;
end $$;

create trigger users_fold_email before insert or update of email, state, folded_email on users
    for each row execute function fold_email();

-- migrate:down
drop trigger users_fold_email on users;
drop function fold_email;
alter table users drop column folded_email;
alter table users add column folded_email text collate pg_unicode_fast not null
    generated always as (casefold(email collate pg_unicode_fast)) stored unique;
