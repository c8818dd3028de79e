insert into users
    (user_id, email, folded_email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
with names as materialized (
    select string_to_array(current_setting('fill.first_names'), ',') as first_names,
        string_to_array(current_setting('fill.surnames'), ',') as surnames
), people as (
    select n, initcap(first) as first, initcap(surname) as surname,
        format('%s.%s.%s@members.example', first, surname, n) as email,
        case n % 100 when 50 then 'USER_STATE_SUSPENDED' when 51 then 'USER_STATE_DELETED' else 'USER_STATE_ACTIVE' end
            as state
    from names cross join generate_series(1, pg_temp.number_of('users')) as n
        cross join lateral (
            select first_names[1 + n * 31 % cardinality(first_names)] as first,
                surnames[1 + n * 17 % cardinality(surnames)] as surname
        ) as chosen
)
select pg_temp.id_of(1, n), email,
    case when state <> 'USER_STATE_DELETED' then casefold(email collate pg_unicode_fast) end, first || ' ' || surname,
    case when n % 100 = 52 then '{ROLE_ADMIN}'::text[] else '{ROLE_MEMBER}' end, state, true, 'Europe/London',
    pg_temp.present() - interval '2 years', pg_temp.present() - interval '2 years'
from people;
