-- migrate:up

-- Credits of members, by expiry. Each grant is one lot. The remaining credits of a member's lots sum to the balance of
-- the account, so the ledger says how many credits a member has, and the lots say until when.
create table lots (
    -- Lots of one account are created under the lock of the account, so a lower number is an older lot.
    lot_id bigint generated always as identity primary key,
    account_id bigint not null references accounts,
    -- Null: the credits never expire.
    expire_time timestamptz,
    granted bigint not null check (granted > 0),
    remaining bigint not null,
    -- The ledger transaction that created the lot. Null: a balance from before this migration.
    transaction_id uuid references transactions,
    -- The expired lot whose credits came back in this one.
    replaces bigint references lots,
    constraint lots_remaining_in_range check (remaining between 0 and granted)
);

create index lots_of_account on lots (account_id);
create index lots_of_transaction on lots (transaction_id);

-- Changes of a lot after its creation.
create table lot_entries (
    transaction_id uuid not null references transactions,
    lot_id bigint not null references lots,
    amount bigint not null check (amount <> 0),
    primary key (transaction_id, lot_id)
);

create trigger lot_entries_stay before update or delete on lot_entries
    for each row execute function refuse_change();
create trigger lot_entries_stay_all before truncate on lot_entries
    for each statement execute function refuse_change();
create trigger lots_stay before delete on lots
    for each row execute function refuse_change();
create trigger lots_stay_all before truncate on lots
    for each statement execute function refuse_change();
-- A lot changes by its entries, with the trigger below, and in no other way.
create trigger lots_follow_entries before update on lots
    for each row when (pg_trigger_depth() = 0) execute function refuse_change();

-- As for the ledger, the role of the service also lacks the privileges. It may lock rows that foreign keys lead to.
revoke update, delete, truncate on lots, lot_entries from current_user;
grant update (remaining) on lots to current_user;

create function add_entry_to_lot() returns trigger language plpgsql as $$
begin
    if not exists (
        select from transactions
        where transaction_id = new.transaction_id and written_in = pg_current_xact_id()
    ) then
        raise exception 'transaction % is closed', new.transaction_id using errcode = 'restrict_violation';
    end if;
    update lots set remaining = remaining + new.amount where lot_id = new.lot_id;
    return null;
end $$;

create trigger lot_entries_move_lots after insert on lot_entries
    for each row execute function add_entry_to_lot();

alter table transactions
    -- The subscription that a grant belongs to.
    add column subscription_id uuid,
    -- Whether the version that wrote the transaction has lots. A version without lots may run beside this one.
    add column has_lots boolean not null default false;

-- Makes the lots of an account sum to its balance, for a version without lots and for the next migration. An excess
-- becomes a lot that never expires. A shortfall is taken in the order in which charges take credits.
create function settle_lots(settled_account bigint, cause uuid) returns void language plpgsql as $$
declare
    excess bigint;
    lot lots;
    taken bigint;
begin
    -- The weakest lock that excludes others. A stronger one would deadlock with the foreign keys of entries.
    perform from accounts where account_id = settled_account and kind = 'member' for no key update;
    if not found then
        return;
    end if;
    select balance - (select coalesce(sum(remaining), 0) from lots where account_id = settled_account)
        into excess from accounts where account_id = settled_account;
    if excess > 0 then
        insert into lots (account_id, granted, remaining, transaction_id)
            values (settled_account, excess, excess, cause);
    end if;
    while excess < 0 loop
        select * into strict lot from lots where account_id = settled_account and remaining > 0
            order by expire_time nulls last, lot_id limit 1;
        taken := least(lot.remaining, -excess);
        insert into lot_entries (transaction_id, lot_id, amount) values (cause, lot.lot_id, -taken);
        excess := excess + taken;
    end loop;
end $$;

create function settle_lots_of_entry() returns trigger language plpgsql as $$
begin
    if exists (select from transactions where transaction_id = new.transaction_id and not has_lots) then
        perform settle_lots(new.account_id, new.transaction_id);
    end if;
    return null;
end $$;

-- Runs after `entries_move_balances`, because triggers run in the order of their names.
create trigger entries_settle_lots after insert on entries
    for each row execute function settle_lots_of_entry();

create function refuse_unequal_lots() returns trigger language plpgsql as $$
begin
    if exists (
        select from accounts
        where account_id = new.account_id and kind = 'member'
            and balance <> (select coalesce(sum(remaining), 0) from lots where lots.account_id = new.account_id)
    ) then
        raise exception 'the lots of account % do not sum to its balance', new.account_id
            using errcode = 'check_violation';
    end if;
    return null;
end $$;

create constraint trigger entries_equal_lots after insert on entries deferrable initially deferred
    for each row execute function refuse_unequal_lots();
create constraint trigger lots_equal_entries after insert or update on lots deferrable initially deferred
    for each row execute function refuse_unequal_lots();

-- The constraint on kinds below accepts each kind that this one accepts.
-- squawk-ignore ban-drop-constraint
alter table transactions drop constraint transactions_kind_check;
-- The constraint on payments below accepts the same grants, charges and refunds, and expiries, which have no payment.
-- squawk-ignore ban-drop-constraint
alter table transactions drop constraint transactions_check;
alter table transactions
    add constraint transactions_kind_is_known
        check (kind in ('grant', 'charge', 'refund', 'credit_back', 'expiry')) not valid,
    add constraint transactions_of_payment
        check ((kind in ('grant', 'expiry')) = (payment_id is null)) not valid;

-- migrate:down
alter table transactions
    drop constraint transactions_of_payment,
    drop constraint transactions_kind_is_known,
    add constraint transactions_kind_check check (kind in ('grant', 'charge', 'refund', 'credit_back')) not valid,
    add constraint transactions_check check ((kind = 'grant') = (payment_id is null)) not valid;
drop trigger entries_equal_lots on entries;
drop trigger entries_settle_lots on entries;
drop table lot_entries, lots;
drop function refuse_unequal_lots, settle_lots_of_entry, settle_lots, add_entry_to_lot;
alter table transactions drop column has_lots, drop column subscription_id;
