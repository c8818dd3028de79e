-- migrate:up
-- Card refunds that failed or were canceled after the card processor had accepted them, by its id.
create table failed_refunds (
    processor_refund_id text primary key,
    -- Null: the refunded charge is not one of this service, such as the charge of a subscription.
    payment_id uuid references payments,
    currency text not null,
    minor_units bigint not null check (minor_units > 0),
    -- A word of the card processor, so an erasure leaves it.
    reason text not null,
    create_time timestamptz not null
);

create index failed_refunds_of_payment on failed_refunds (payment_id);

create trigger failed_refunds_stay before update or delete on failed_refunds
    for each row execute function refuse_change();

alter table transactions
    -- The new list of kinds contains the old one, so older versions lose no guarantee.
    -- squawk-ignore ban-drop-constraint
    drop constraint transactions_kind_is_known,
    add constraint transactions_kind_is_known check (
        kind in ('grant', 'charge', 'refund', 'partial_refund', 'credit_back', 'expiry', 'dispute', 'dispute_won',
            'refund_failed')
    ) not valid;

-- The account `owed` holds the money of all failed refunds. Its return in another way is not posted.
alter table accounts
    -- As above.
    -- squawk-ignore ban-drop-constraint
    drop constraint accounts_kind_is_known,
    add constraint accounts_kind_is_known
        check (kind in ('member', 'issued', 'cards', 'income', 'disputes', 'owed')) not valid;

-- As before, without failed refunds: their money is owed to the member, so a second refund would return it twice.
create or replace view violation_refund_above_capture as
    select payment_id, 'money' as what
    from transactions join entries using (transaction_id) join accounts using (account_id)
    where accounts.kind = 'cards' and transactions.kind <> 'refund_failed' group by payment_id having sum(amount) > 0
    union all
    select payment_id, 'credits' as what
    from transactions join payments using (payment_id)
        join entries using (transaction_id) join accounts using (account_id)
    where accounts.kind = 'member' and transactions.kind in ('refund', 'partial_refund', 'credit_back')
    group by payment_id having sum(amount) > max(payments.credits);

-- The ledger holds the amount of each failed refund.
create view violation_failed_refund_not_ledger as
    select payment_id, coalesce(failed, 0) as failed, coalesce(entered, 0) as entered
    from (
        select payment_id, sum(minor_units) as failed from failed_refunds
        where payment_id is not null group by payment_id
    ) as reported full join (
        select payment_id, sum(amount) as entered
        from transactions join entries using (transaction_id) join accounts using (account_id)
        where accounts.kind = 'owed' group by payment_id
    ) as ledger using (payment_id)
    where coalesce(failed, 0) <> coalesce(entered, 0);

-- migrate:down
drop view violation_failed_refund_not_ledger;
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
alter table accounts
    drop constraint accounts_kind_is_known,
    add constraint accounts_kind_is_known
        check (kind in ('member', 'issued', 'cards', 'income', 'disputes')) not valid;
alter table transactions
    drop constraint transactions_kind_is_known,
    add constraint transactions_kind_is_known check (
        kind in ('grant', 'charge', 'refund', 'partial_refund', 'credit_back', 'expiry', 'dispute', 'dispute_won')
    ) not valid;
drop table failed_refunds;
