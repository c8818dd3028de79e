-- migrate:up
-- Erased members. Their sessions are erased in rounds; `finish_time` is null until the last round.
create table erased_users (
    user_id uuid primary key,
    erase_time timestamptz not null,
    finish_time timestamptz
);
create index erased_users_unfinished on erased_users (erase_time) where finish_time is null;

-- A guest without an address is erased, so there is nobody to invite.
create view violation_erased_guest_invited as
    select invitation_id from guests where email = '' and (name <> '' or cancel_time is null);

-- migrate:down
drop view violation_erased_guest_invited;
drop table erased_users;
