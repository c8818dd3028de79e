-- Each second member has a subscription. The webhooks of two years are done.
insert into subscriptions (subscription_id, user_id, plan_id, first_period, is_trial, paid_period, create_time,
                           watch_time, told_time)
select pg_temp.id_of(8, n), pg_temp.id_of(1, n), '01980000-0000-7000-8000-000000000004', period, false, period,
    lower(period), lower(period), lower(period)
from generate_series(2, pg_temp.number_of('users'), 2) as n
    cross join tstzrange(pg_temp.present() - interval '9 days', pg_temp.present() + interval '21 days') as period;
insert into granted_periods (subscription_id, period_start, credits, create_time)
select subscription_id, lower(first_period), 40, create_time from subscriptions;
insert into webhooks (scheme, webhook_id, event, receive_time)
select 'standard', 'evt_' || n, 'renewed', pg_temp.present()
from generate_series(1, pg_temp.number_of('users')) as n;
