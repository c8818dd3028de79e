-- migrate:up

-- The books of the processor that test mode has in place of a card company. Nothing else reads or refers to them.
create table card_charges (
    idempotency_key text primary key,
    outcome text not null check (outcome in ('captured', 'declined', 'called_off')),
    currency text,
    minor_units bigint,
    returned boolean not null default false,
    check (outcome = 'called_off' or num_nulls(currency, minor_units) = 0),
    check (outcome = 'captured' or not returned)
);

-- migrate:down

drop table card_charges;
