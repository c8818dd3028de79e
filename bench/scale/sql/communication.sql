-- One mail for each second session; two in a hundred have failed.
insert into messages (message_id, template_key, status, recipients, mail, email_message_id, attempts, last_error,
                      correlation_id, traceparent, create_time, send_time, user_id, category)
select pg_temp.id_of(7, n), 'SESSION_BOOKED', case when is_dead then 'DEAD' else 'SENT' end, '{}',
    case when is_dead then ''::bytea end, format('<%s@solo60.example>', n), 1,
    case when is_dead then 'no answer' else '' end, md5(n::text), '', sent, case when not is_dead then sent end,
    pg_temp.id_of(1, 1 + n % pg_temp.number_of('users')), 'BOOKINGS'
from generate_series(1, pg_temp.number_of('gyms') * pg_temp.number_of('slots') / 2) as n
    cross join lateral (
        select n % 50 = 0 as is_dead, pg_temp.present() - make_interval(secs => n % 80000) as sent
    ) as each;
