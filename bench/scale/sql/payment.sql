-- A third of the sessions is paid, in credits. Each member has a lot of 10,000 credits and a smaller one that expires.
create temporary table paid as
select number, pg_temp.id_of(3, number) as session_id, member, pg_temp.start_of(slot) as charge_time
from generate_series(0, pg_temp.number_of('slots') - 1) as slot
    cross join generate_series(1, pg_temp.number_of('gyms')) as gym
    cross join lateral (
        select gym * pg_temp.number_of('slots') + slot as number, pg_temp.member_of(gym, slot) as member offset 0
    ) as each
where number % 3 = 0;

create temporary table members as
select n, 10 + n as account_id, coalesce(spent, 0) as spent
from generate_series(1, pg_temp.number_of('users')) as n
    left join (select member as n, 10 * count(*) as spent from paid group by member) as charges using (n);
analyze paid, members;

insert into sessions (session_id) select session_id from paid;
insert into payments (payment_id, session_id, user_id, method, currency, minor_units, credits, status, create_time,
                      update_time)
select pg_temp.id_of(4, number), session_id, pg_temp.id_of(1, member), 'credits', 'GBP', 1250, 10, 'captured',
    charge_time, charge_time
from paid;
insert into accounts (account_id, kind, user_id, currency, balance) overriding system value
select account_id, 'member', pg_temp.id_of(1, n), 'CREDIT', 10050 - spent from members;
insert into transactions (transaction_id, kind, payment_id, reason, create_time, has_lots)
select pg_temp.id_of(5, n), 'grant', null, 'welcome', pg_temp.present() - interval '2 years', true from members
union all
select pg_temp.id_of(6, number), 'charge', pg_temp.id_of(4, number), '', charge_time, true from paid;
insert into entries (transaction_id, account_id, currency, amount)
select pg_temp.id_of(5, n), account_id, 'CREDIT', 10050 from members
union all
select pg_temp.id_of(5, n), house.account_id, 'CREDIT', -10050 from members, accounts as house where kind = 'issued'
union all
select pg_temp.id_of(6, number), account_id, 'CREDIT', -10 from paid join members on n = member
union all
select pg_temp.id_of(6, number), house.account_id, 'CREDIT', 10 from paid, accounts as house where kind = 'income';
insert into lots (lot_id, account_id, expire_time, granted, remaining, transaction_id) overriding system value
select n, account_id, null, 10000, 10000 - spent, pg_temp.id_of(5, n) from members
union all
select pg_temp.number_of('users') + n, account_id, pg_temp.present() + interval '1 year', 50, 50, pg_temp.id_of(5, n)
from members;
insert into lot_entries (transaction_id, lot_id, amount) select pg_temp.id_of(6, number), member, -10 from paid;
select setval(pg_get_serial_sequence('accounts', 'account_id'), 10 + pg_temp.number_of('users'));
select setval(pg_get_serial_sequence('lots', 'lot_id'), 2 * pg_temp.number_of('users'));
