insert into calendars (gym_id, waiting_list_mode)
select pg_temp.id_of(2, n), case n when 1 then 'offer_one' else 'notify_all' end
from generate_series(1, pg_temp.number_of('gyms')) as n;

insert into sessions (session_id, user_id, gym_id, period, status, currency, minor_units, credits, noise_policy,
                      requires_approval, paid_in, create_time, update_time, caller, idempotency_key, request_sha256,
                      correlation_id, booking_response)
select pg_temp.id_of(3, number), pg_temp.id_of(1, member), pg_temp.id_of(2, gym),
    tstzrange(start, start + interval '1 hour'),
    case when number % 10 = 3 then 'cancelled' when start + interval '1 hour' <= pg_temp.present() then 'completed'
        when number % 20 = 4 then 'pending_approval' else 'confirmed' end,
    'GBP', 1250, 10, '', false, 'credits', start - interval '9 days', start - interval '9 days',
    'website', md5(number::text), sha256(number::text::bytea), md5(number::text), decode(repeat('00', 200), 'hex')
from generate_series(0, pg_temp.number_of('slots') - 1) as slot
    cross join generate_series(1, pg_temp.number_of('gyms')) as gym
    cross join lateral (
        select gym * pg_temp.number_of('slots') + slot as number, pg_temp.start_of(slot) as start,
            pg_temp.member_of(gym, slot) as member offset 0
    ) as each;

-- One guest for each tenth session.
insert into guests (session_id, email, name, create_time)
select session_id, 'guest.' || row_number() over () || '@guests.example', 'Guest', create_time
from sessions where status in ('confirmed', 'completed') and get_byte(request_sha256, 0) % 10 = 0;

-- Members who wait, or waited, for a tenth of the sessions. Half of the entries are closed.
insert into waiting_list (user_id, gym_id, period, create_time, leave_time, currency, minor_units, credits,
                          noise_policy, requires_approval)
select pg_temp.id_of(1, 2 + get_byte(request_sha256, 2) + waiting), gym_id, period, create_time,
    case waiting when 2 then create_time end, 'GBP', 1250, 10, '', false
from sessions cross join generate_series(1, 2) as waiting
where status in ('confirmed', 'completed') and get_byte(request_sha256, 1) % 10 = 0;
