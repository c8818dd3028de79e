-- migrate:up

create table idempotency_keys (
    caller text not null,
    request_type text not null,
    key text not null,
    request_sha256 bytea not null,
    response bytea,
    create_time timestamptz not null default now(),
    primary key (caller, request_type, key)
);

-- What payment knows of a session, and the row that whoever charges it or gives it back locks first.
create table sessions (
    session_id uuid primary key,
    -- Since when nothing may be taken for it, and what is being taken goes back. Null: it may be charged.
    void_time timestamptz,
    void_reason text,
    check ((void_time is null) = (void_reason is null))
);

create table payments (
    payment_id uuid primary key default uuidv7(),
    session_id uuid not null unique references sessions,
    user_id uuid not null,
    method text not null check (method in ('credits', 'card')),
    currency text not null,
    minor_units bigint not null check (minor_units > 0),
    credits bigint not null check (credits > 0),
    status text not null check (status in ('pending', 'captured', 'declined', 'refunded', 'voided')),
    refunded_in text check (refunded_in in ('credits', 'card')),
    refund_reason text,
    refund_time timestamptz,
    create_time timestamptz not null,
    update_time timestamptz not null,
    check (num_nulls(refunded_in, refund_reason, refund_time) = case status when 'refunded' then 0 else 3 end)
);

-- Only a member's account has a balance of its own and a floor. The house's accounts are summed when someone asks: a
-- balance there would make every charge of every member wait for one row.
create table accounts (
    account_id bigint generated always as identity primary key,
    kind text not null check (kind in ('member', 'issued', 'cards', 'income')),
    user_id uuid,
    currency text not null check (currency ~ '^[A-Z]{3}$' or currency = 'CREDIT'),
    balance bigint constraint accounts_balance_not_below_zero check (balance >= 0),
    unique nulls not distinct (kind, user_id, currency),
    unique (account_id, currency),
    check ((kind = 'member') = (user_id is not null)),
    check ((kind = 'member') = (balance is not null))
);

insert into accounts (kind, currency) values ('issued', 'CREDIT'), ('income', 'CREDIT');

create table transactions (
    transaction_id uuid primary key default uuidv7(),
    kind text not null check (kind in ('grant', 'charge', 'refund', 'credit_back')),
    payment_id uuid references payments,
    reverses uuid unique references transactions,
    reason text not null,
    create_time timestamptz not null,
    written_in xid8 not null default pg_current_xact_id(),
    check ((kind = 'grant') = (payment_id is null)),
    check (reverses is null or kind in ('refund', 'credit_back')),
    check (kind <> 'refund' or reverses is not null)
);

create unique index transactions_one_charge on transactions (payment_id) where kind = 'charge';
create unique index transactions_one_return on transactions (payment_id) where kind in ('refund', 'credit_back');

create table entries (
    transaction_id uuid not null references transactions,
    account_id bigint not null,
    currency text not null,
    amount bigint not null check (amount <> 0),
    primary key (transaction_id, account_id),
    foreign key (account_id, currency) references accounts (account_id, currency)
);

create index entries_of_account on entries (account_id);

-- What was written stays: a mistake is corrected by a transaction that reverses it.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% on % is refused', tg_op, tg_table_name using errcode = 'restrict_violation';
end $$;

create trigger entries_stay before update or delete on entries
    for each row execute function refuse_change();
create trigger entries_stay_all before truncate on entries
    for each statement execute function refuse_change();
create trigger transactions_stay before update or delete on transactions
    for each row execute function refuse_change();
create trigger transactions_stay_all before truncate on transactions
    for each statement execute function refuse_change();
create trigger payments_stay before delete on payments
    for each row execute function refuse_change();
create trigger sessions_stay before delete on sessions
    for each row execute function refuse_change();
create trigger accounts_stay before delete on accounts
    for each row execute function refuse_change();
-- A balance moves with an entry, by the trigger below, and in no other way.
create trigger balances_follow_entries before update on accounts
    for each row when (pg_trigger_depth() = 0) execute function refuse_change();

create function add_entry_to_balance() returns trigger language plpgsql as $$
begin
    if not exists (
        select from transactions
        where transaction_id = new.transaction_id and written_in = pg_current_xact_id()
    ) then
        raise exception 'transaction % is closed', new.transaction_id using errcode = 'restrict_violation';
    end if;
    update accounts set balance = balance + new.amount where account_id = new.account_id and kind = 'member';
    return null;
end $$;

create trigger entries_move_balances after insert on entries
    for each row execute function add_entry_to_balance();

create function refuse_unbalanced() returns trigger language plpgsql as $$
begin
    if not exists (select from entries where transaction_id = new.transaction_id) then
        raise exception 'transaction % has no entries', new.transaction_id using errcode = 'check_violation';
    end if;
    if exists (
        select from entries where transaction_id = new.transaction_id group by currency having sum(amount) <> 0
    ) then
        raise exception 'transaction % does not sum to zero', new.transaction_id using errcode = 'check_violation';
    end if;
    return null;
end $$;

create constraint trigger transactions_sum_to_zero after insert on transactions deferrable initially deferred
    for each row execute function refuse_unbalanced();
create constraint trigger entries_sum_to_zero after insert on entries deferrable initially deferred
    for each row execute function refuse_unbalanced();

-- A payment goes forward only, ends once, and is never about anything else than at first.
create function refuse_payment_turn() returns trigger language plpgsql as $$
begin
    if (old.status, new.status) not in (
        ('pending', 'captured'), ('pending', 'declined'), ('pending', 'voided'), ('captured', 'refunded')
    ) then
        raise exception 'a payment does not go from % to %', old.status, new.status
            using errcode = 'restrict_violation';
    end if;
    if (old.payment_id, old.session_id, old.user_id, old.method, old.currency, old.minor_units, old.credits)
        <> (new.payment_id, new.session_id, new.user_id, new.method, new.currency, new.minor_units, new.credits)
    then
        raise exception 'what payment % is for does not change', old.payment_id using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

create trigger payments_go_forward before update on payments
    for each row execute function refuse_payment_turn();

-- Invariants. Each view lists what breaks one of them: all of them are empty, always.
create view violation_sum_not_zero as
    select transaction_id, currency, sum(amount) as excess
    from entries group by transaction_id, currency having sum(amount) <> 0;

create view violation_balance_not_sum as
    select account_id, balance, coalesce(sum(amount), 0) as entered
    from accounts left join entries using (account_id)
    where kind = 'member' group by account_id having balance <> coalesce(sum(amount), 0);

create view violation_balance_below_zero as
    select account_id, sum(amount) as entered
    from accounts join entries using (account_id)
    where kind = 'member' group by account_id having sum(amount) < 0;

create view violation_reversal_not_mirrored as
    select t.transaction_id, e.account_id, sum(e.amount) as excess
    from transactions as t join entries as e on e.transaction_id in (t.transaction_id, t.reverses)
    where t.reverses is not null
    group by t.transaction_id, e.account_id having sum(e.amount) <> 0;

-- Money goes back to cards only as far as it came from them; credits, only as many as the session was worth.
create view violation_refund_above_capture as
    select payment_id, 'money' as what
    from transactions join entries using (transaction_id) join accounts using (account_id)
    where accounts.kind = 'cards' group by payment_id having sum(amount) > 0
    union all
    select payment_id, 'credits' as what
    from transactions join payments using (payment_id)
        join entries using (transaction_id) join accounts using (account_id)
    where accounts.kind = 'member' and transactions.kind in ('refund', 'credit_back')
    group by payment_id having sum(amount) > max(payments.credits);

-- A payment's status and what the ledger holds of it tell the same story, and it has one end.
create view violation_status_not_ledger as
    select payment_id, status, charges, returns
    from payments left join lateral (
        select count(*) filter (where kind = 'charge') as charges, count(*) filter (where kind <> 'charge') as returns
        from transactions where transactions.payment_id = payments.payment_id
    ) as ledger on true
    where charges <> (status in ('captured', 'refunded'))::int or returns <> (status = 'refunded')::int;

-- migrate:down

drop view violation_status_not_ledger, violation_refund_above_capture, violation_reversal_not_mirrored,
    violation_balance_below_zero, violation_balance_not_sum, violation_sum_not_zero;
drop table entries, transactions, accounts, payments, sessions, idempotency_keys;
drop function refuse_change, add_entry_to_balance, refuse_unbalanced, refuse_payment_turn;
