-- migrate:up

-- Mode of announcing free slots, by gym. A gym without a row notifies all waiting members.
alter table calendars add column waiting_list_mode text not null default 'notify_all';
alter table calendars add constraint calendars_waiting_list_mode
    check (waiting_list_mode in ('notify_all', 'offer_one')) not valid;

-- Number of times that a session was moved to another period.
alter table sessions add column moves integer not null default 0;
-- Id of the offer for this session's slot, before and after a claim. Null in other sessions.
alter table sessions add column offer_id uuid;

-- Price and rules at the time of joining. Null in entries from before this migration, which get no offer.
alter table waiting_list add column currency text, add column minor_units bigint, add column credits bigint,
    add column noise_policy text, add column requires_approval boolean;

create table offers (
    offer_id uuid primary key default uuidv7(),
    -- Each entry gets at most one offer, so no slot is offered twice to the same entry.
    entry_id uuid not null unique references waiting_list,
    -- The session that holds the slot, so `sessions_never_overlap` also prevents overlapping offers. After a failed
    -- payment, another session replaces it, because a released session cannot be charged.
    session_id uuid not null unique references sessions,
    status text not null check (status in ('open', 'claimed', 'declined', 'expired', 'withdrawn')),
    expire_time timestamptz not null,
    create_time timestamptz not null,
    update_time timestamptz not null
);

-- WatchAvailability also reports moved sessions.
create or replace trigger sessions_announce_availability after insert or update of status, period on sessions
    for each row execute function announce_availability();

-- Empty as long as `sessions_never_overlap` exists.
create view violation_slot_offered_twice as
    select a.offer_id, b.offer_id as other_offer_id
    from offers as a
        join sessions as held on held.session_id = a.session_id
        join sessions as other on other.gym_id = held.gym_id and other.period && held.period
        join offers as b on b.session_id = other.session_id and b.offer_id > a.offer_id
    where a.status = 'open' and b.status = 'open';

-- The session of an open offer must hold the slot.
create view violation_offer_without_hold as
    select offers.offer_id from offers join sessions using (session_id)
    where offers.status = 'open' and sessions.status <> 'pending_payment';

-- An ended offer must hold no slot. The session of a claimed offer must be waiting for payment or have been booked.
create view violation_hold_outlives_offer as
    select offers.offer_id, offers.status as offer_status, sessions.status from offers join sessions using (session_id)
    where (offers.status in ('declined', 'expired', 'withdrawn') and sessions.status <> 'cancelled')
        or (offers.status = 'claimed' and sessions.status <> 'pending_payment' and booking_response is null);

-- The entry of an ended or booked offer must be closed.
create view violation_waiting_after_offer as
    select offers.offer_id, offers.status from offers join waiting_list using (entry_id) join sessions using (session_id)
    where leave_time is null
        and (offers.status in ('declined', 'expired', 'withdrawn')
            or (offers.status = 'claimed' and booking_response is not null));

-- migrate:down
drop view violation_waiting_after_offer, violation_hold_outlives_offer, violation_offer_without_hold,
    violation_slot_offered_twice;
drop table offers;
alter table waiting_list drop column currency, drop column minor_units, drop column credits, drop column noise_policy,
    drop column requires_approval;
alter table sessions drop column moves, drop column offer_id;
alter table calendars drop column waiting_list_mode;
