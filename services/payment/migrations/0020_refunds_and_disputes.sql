-- migrate:up
-- Refunds of payments, each with the part of the payment that it returns. A payment refunded by an earlier version has
-- its only refund in `payments`, and no row here.
create table refunds (
    refund_id uuid primary key default uuidv7(),
    payment_id uuid not null references payments,
    method text not null check (method in ('credits', 'card')),
    -- Minor units of the payment's currency, or credits.
    amount bigint not null check (amount > 0),
    reason text not null,
    -- A pending refund may have reached the card processor. A rejected one returned nothing.
    status text not null check (status in ('pending', 'done', 'rejected')),
    create_time timestamptz not null
);

create index refunds_of_payment on refunds (payment_id);

-- Disputes that members opened at their bank, by the id of the card processor.
create table disputes (
    dispute_id text primary key,
    -- Null: the disputed charge is not one of this service, such as the charge of a subscription.
    payment_id uuid references payments,
    currency text not null,
    minor_units bigint not null check (minor_units > 0),
    reason text not null,
    -- New: this transaction has not applied its first report yet. Inquiry: the bank asks, and no money has moved.
    status text not null check (status in ('new', 'inquiry', 'open', 'won', 'lost')),
    create_time timestamptz not null,
    update_time timestamptz not null
);

create index disputes_of_payment on disputes (payment_id);

create trigger refunds_stay before delete on refunds
    for each row execute function refuse_change();
create trigger disputes_stay before delete on disputes
    for each row execute function refuse_change();

-- Partial refunds at the processor of test mode.
create table card_refunds (
    refund_key text primary key,
    idempotency_key text not null references card_charges,
    minor_units bigint not null check (minor_units > 0)
);

-- migrate:down
drop table card_refunds, disputes, refunds;
