-- migrate:up

-- The billing periods whose credits are granted, each once, by the time at which they begin.
create table granted_periods (
    subscription_id uuid not null references subscriptions,
    period_start timestamptz not null,
    credits bigint not null check (credits > 0),
    create_time timestamptz not null,
    primary key (subscription_id, period_start)
);

-- Older versions grant by calendar month and may still run beside this one. So this version adds its months here too,
-- marked as copies, and counts a month that is no copy as the grant of one period that began in it.
alter table granted_months add column is_copy boolean not null default false;

-- No service reads it. `solo60 doctor` looks for the views that are there.
-- squawk-ignore ban-drop-view
drop view violation_month_not_granted;

-- Credits come with the first period, and with each period that is paid. A paid period that begins in the first half of a
-- month that was paid at the start is that month, by the card processor's clock.
create view violation_period_not_granted as
    select subscription_id, period_start
    from subscriptions cross join lateral (
        select lower(first_period) as period_start
        union
        select lower(paid_period)
        where is_trial
            or lower(paid_period) >= lower(first_period) + (upper(first_period) - lower(first_period)) / 2
    ) as due
    where period_start is not null
        and not exists (
            select from granted_periods as granted
            where granted.subscription_id = subscriptions.subscription_id and granted.period_start = due.period_start
        )
        and not exists (
            select from granted_months as old
            where old.subscription_id = subscriptions.subscription_id and not old.is_copy
                and old.month = to_char(due.period_start at time zone 'UTC', 'YYYY-MM')
                and (due.period_start = lower(first_period)
                    or old.month <> to_char(lower(first_period) at time zone 'UTC', 'YYYY-MM'))
        );

-- migrate:down
drop view violation_period_not_granted;

create view violation_month_not_granted as
    select subscription_id, month
    from subscriptions cross join lateral (
        values (to_char(lower(first_period) at time zone 'UTC', 'YYYY-MM')),
            (to_char(lower(paid_period) at time zone 'UTC', 'YYYY-MM'))
    ) as due (month)
    where month is not null and not exists (
        select from granted_months as granted
        where granted.subscription_id = subscriptions.subscription_id and granted.month = due.month
    );

alter table granted_months drop column is_copy;
drop table granted_periods;
