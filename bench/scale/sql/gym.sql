insert into gyms (gym_id, name, time_zone, currency_code, minor_units_per_hour, credits_per_hour, noise_policy,
                  opens_minute, closes_minute, requires_approval, waiting_list_mode, create_time, update_time)
select pg_temp.id_of(2, n), 'Gym ' || n, 'UTC', 'GBP', 1250, 10, '', 0, 1440, false,
    case n when 1 then 'offer_one' else 'notify_all' end, pg_temp.present(), pg_temp.present()
from generate_series(1, pg_temp.number_of('gyms')) as n;
