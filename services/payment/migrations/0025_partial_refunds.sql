-- migrate:up
alter table transactions
    -- The new list of kinds contains the old one, so older versions lose no guarantee.
    -- squawk-ignore ban-drop-constraint
    drop constraint transactions_kind_is_known,
    add constraint transactions_kind_is_known check (
        kind in ('grant', 'charge', 'refund', 'partial_refund', 'credit_back', 'expiry', 'dispute', 'dispute_won')
    ) not valid;

-- The account of disputes holds the money that the card processor has taken back.
alter table accounts
    -- As above.
    -- squawk-ignore ban-drop-constraint
    drop constraint accounts_kind_check,
    add constraint accounts_kind_is_known
        check (kind in ('member', 'issued', 'cards', 'income', 'disputes')) not valid;

-- Together, the refunds of a payment return at most what it took. A version without partial refunds, which may run
-- beside this one, refunds a payment as a whole.
create function refuse_refund_above_charge() returns trigger language plpgsql as $$
begin
    if (
        select sum(amount) from entries join transactions using (transaction_id) join accounts using (account_id)
        where payment_id = new.payment_id and transactions.kind in ('charge', 'refund', 'partial_refund')
            and accounts.kind = 'income'
    ) < 0 then
        raise exception 'the refunds of payment % are above its charge', new.payment_id
            using errcode = 'check_violation';
    end if;
    return null;
end $$;

create constraint trigger transactions_refund_at_most_charge after insert on transactions
    deferrable initially deferred for each row when (new.kind in ('refund', 'partial_refund'))
    execute function refuse_refund_above_charge();

create or replace view violation_refund_above_capture as
    select payment_id, 'money' as what
    from transactions join entries using (transaction_id) join accounts using (account_id)
    where accounts.kind = 'cards' group by payment_id having sum(amount) > 0
    union all
    select payment_id, 'credits' as what
    from transactions join payments using (payment_id)
        join entries using (transaction_id) join accounts using (account_id)
    where accounts.kind = 'member' and transactions.kind in ('refund', 'partial_refund', 'credit_back')
    group by payment_id having sum(amount) > max(payments.credits);

-- A payment is refunded if it was given back in credits, or if refunds have returned all that it took.
create or replace view violation_status_not_ledger as
    select payment_id, status, coalesce(charges, 0) as charges, coalesce(returns, 0) as returns
    from payments left join (
        select payment_id,
            count(distinct transaction_id) filter (where t.kind = 'charge') as charges,
            count(distinct transaction_id) filter (where t.kind in ('refund', 'partial_refund', 'credit_back'))
                as returns,
            bool_or(t.kind = 'credit_back')
                or coalesce(sum(amount) filter (where a.kind = 'income'), 0) = 0 as is_refunded
        from transactions as t join entries using (transaction_id) join accounts as a using (account_id)
        where t.kind in ('charge', 'refund', 'partial_refund', 'credit_back')
        group by payment_id
    ) as ledger using (payment_id)
    where coalesce(charges, 0) <> (status in ('captured', 'refunded'))::int
        or coalesce(is_refunded, false) <> (status = 'refunded');

-- The ledger holds the amount of each dispute that is open or lost.
create view violation_dispute_not_ledger as
    select payment_id, coalesce(taken, 0) as taken, coalesce(entered, 0) as entered
    from (
        select payment_id, sum(minor_units) as taken from disputes
        where status in ('open', 'lost') and payment_id is not null group by payment_id
    ) as disputed full join (
        select payment_id, sum(amount) as entered
        from transactions join entries using (transaction_id) join accounts using (account_id)
        where accounts.kind = 'disputes' group by payment_id
    ) as ledger using (payment_id)
    where coalesce(taken, 0) <> coalesce(entered, 0);

-- migrate:down
drop view violation_dispute_not_ledger;
drop trigger transactions_refund_at_most_charge on transactions;
drop function refuse_refund_above_charge;
alter table accounts
    drop constraint accounts_kind_is_known,
    add constraint accounts_kind_check check (kind in ('member', 'issued', 'cards', 'income')) not valid;
alter table transactions
    drop constraint transactions_kind_is_known,
    add constraint transactions_kind_is_known
        check (kind in ('grant', 'charge', 'refund', 'credit_back', 'expiry')) not valid;
