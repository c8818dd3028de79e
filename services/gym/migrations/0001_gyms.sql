-- migrate:up
create table gyms (
    gym_id uuid primary key default uuidv7(),
    name text not null,
    -- Names are equal, and in order, without regard to case.
    folded_name text collate pg_unicode_fast not null
        generated always as (casefold(name collate pg_unicode_fast)) stored unique,
    time_zone text not null,
    currency_code text not null,
    minor_units_per_hour bigint not null check (minor_units_per_hour > 0),
    credits_per_hour bigint not null check (credits_per_hour > 0),
    noise_policy text not null,
    opens_minute int not null check (opens_minute >= 0),
    closes_minute int not null check (closes_minute <= 1440),
    requires_approval boolean not null,
    create_time timestamptz not null,
    update_time timestamptz not null,
    check (opens_minute < closes_minute)
);

-- migrate:down
drop table gyms;
