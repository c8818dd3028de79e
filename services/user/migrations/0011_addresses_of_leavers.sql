-- migrate:up

-- A user who left gives the address back: `folded_email` is null then, and nulls are never equal to a unique constraint.
-- The constraint stays, so that replicas of the version before can add users meanwhile: their `on conflict
-- (folded_email)` needs it. Another expression for the generated column would say the same, but it would rewrite the
-- table under a lock that stops every call. A trigger needs no rewrite.
--
-- The version before neither writes this column nor reads it back: it may be an ordinary one, and null.
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
