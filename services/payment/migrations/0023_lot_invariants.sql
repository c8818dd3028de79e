-- migrate:up
alter table transactions validate constraint transactions_kind_is_known;
alter table transactions validate constraint transactions_of_payment;

create view violation_lots_not_balance as
    select account_id, balance, coalesce(sum(remaining), 0) as in_lots
    from accounts left join lots using (account_id)
    where kind = 'member' group by account_id having balance <> coalesce(sum(remaining), 0);

create view violation_lot_not_sum as
    select lot_id, remaining, granted + coalesce(sum(amount), 0) as entered
    from lots left join lot_entries using (lot_id)
    group by lot_id having remaining <> granted + coalesce(sum(amount), 0);

-- A payment returns to a lot, or in the place of an expired lot, at most what it took from that lot.
create view violation_lot_returned_above_taken as
    select payment_id, lot_id, sum(amount) as excess from (
        select payment_id, lot_id, amount from lot_entries join transactions using (transaction_id)
        union all
        select payment_id, replaces, granted from lots join transactions using (transaction_id)
        where replaces is not null
    ) as moved (payment_id, lot_id, amount)
    where payment_id is not null group by payment_id, lot_id having sum(amount) > 0;

-- No credits expire before the time of their lot.
create view violation_lot_expired_early as
    select lots.lot_id, t.transaction_id, lots.expire_time, t.create_time
    from lots join lot_entries as e using (lot_id) join transactions as t on t.transaction_id = e.transaction_id
    where t.kind = 'expiry' and (lots.expire_time is null or lots.expire_time > t.create_time);

-- migrate:down
drop view violation_lot_expired_early, violation_lot_returned_above_taken, violation_lot_not_sum,
    violation_lots_not_balance;
