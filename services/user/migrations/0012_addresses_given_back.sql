-- migrate:up

-- Those who left before 0011. A file of its own, so that the lock which 0011 takes on the table is held for moments only.
update users set folded_email = null where state = 'USER_STATE_DELETED';

create view violation_address_not_folded as
    select user_id from users
    where folded_email is distinct from
        case when state <> 'USER_STATE_DELETED' then casefold(email collate pg_unicode_fast) end;

-- migrate:down
drop view violation_address_not_folded;
