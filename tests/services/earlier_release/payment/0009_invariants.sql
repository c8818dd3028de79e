-- migrate:up
create view violation_key_without_answer as
    select caller, request_type, key from idempotency_keys where response is null;

-- As before, in one pass over the ledger: looked up for each payment, it took the square of their number.
create or replace view violation_status_not_ledger as
    select payment_id, status, coalesce(charges, 0) as charges, coalesce(returns, 0) as returns
    from payments left join (
        select payment_id,
            count(*) filter (where kind = 'charge') as charges, count(*) filter (where kind <> 'charge') as returns
        from transactions group by payment_id
    ) as ledger using (payment_id)
    where coalesce(charges, 0) <> (status in ('captured', 'refunded'))::int
        or coalesce(returns, 0) <> (status = 'refunded')::int;

-- migrate:down
create or replace view violation_status_not_ledger as
    select payment_id, status, charges, returns
    from payments left join lateral (
        select count(*) filter (where kind = 'charge') as charges, count(*) filter (where kind <> 'charge') as returns
        from transactions where transactions.payment_id = payments.payment_id
    ) as ledger on true
    where charges <> (status in ('captured', 'refunded'))::int or returns <> (status = 'refunded')::int;
drop view violation_key_without_answer;
