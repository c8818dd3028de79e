-- migrate:up
create table guests (
    invitation_id uuid primary key default uuidv7(),
    session_id uuid not null references sessions,
    email text not null,
    -- Addresses are equal without regard to case.
    folded_email text collate pg_unicode_fast not null
        generated always as (casefold(email collate pg_unicode_fast)) stored,
    name text not null,
    create_time timestamptz not null,
    -- When the invitation was taken back.
    cancel_time timestamptz
);

-- Who was taken back may be invited again.
create unique index guests_once on guests (session_id, folded_email) where cancel_time is null;
create index guests_of_session on guests (session_id, create_time, invitation_id) where cancel_time is null;

-- Nobody is invited before there is anything to come to.
create view violation_guest_of_nothing as
    select invitation_id from guests join sessions using (session_id)
    where status = 'pending_payment' or booking_response is null;

-- migrate:down
drop view violation_guest_of_nothing;
drop table guests;
