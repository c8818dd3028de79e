-- migrate:up
-- The same check, from the ledger transactions of the payment on. It read every entry of the income account before.
create or replace function refuse_refund_above_charge() returns trigger language plpgsql as $$
begin
    if (
        with own as (
            select transaction_id from transactions where payment_id = new.payment_id and kind = 'charge'
            union all
            select transaction_id from transactions
                where payment_id = new.payment_id and kind in ('refund', 'credit_back') and kind = 'refund'
            union all
            select transaction_id from transactions where payment_id = new.payment_id and kind = 'partial_refund'
        )
        select sum(amount) from own cross join lateral (
            select amount from entries join accounts using (account_id)
            where entries.transaction_id = own.transaction_id and accounts.kind = 'income'
            offset 0
        ) as income
    ) < 0 then
        raise exception 'the refunds of payment % are above its charge', new.payment_id
            using errcode = 'check_violation';
    end if;
    return null;
end $$;

-- migrate:down
select 1;
