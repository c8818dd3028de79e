-- migrate:up

-- Each view lists what breaks an invariant: all of them are empty, always.

-- The constraint says the same, for as long as it is there.
create view violation_sessions_overlap as
    select a.session_id, b.session_id as other_session_id
    from sessions as a join sessions as b on a.gym_id = b.gym_id and a.period && b.period and a.session_id < b.session_id
    where a.status in ('pending_payment', 'pending_approval', 'confirmed')
        and b.status in ('pending_payment', 'pending_approval', 'confirmed');

-- Who pays is answered, and answered alike when the call comes again.
create view violation_session_without_answer as
    select session_id, status from sessions
    where status not in ('pending_payment', 'cancelled') and booking_response is null;

-- Until it is paid for there is nothing to say.
create view violation_session_answered_too_soon as
    select session_id, status from sessions where status = 'pending_payment' and booking_response is not null;

-- Only a booking that failed gives its key back: otherwise a repetition would book again.
create view violation_session_without_key as
    select session_id, status from sessions
    where idempotency_key is null and (status <> 'cancelled' or booking_response is not null);

-- migrate:down

drop view violation_session_without_key, violation_session_answered_too_soon, violation_session_without_answer,
    violation_sessions_overlap;
