-- migrate:up
create table waiting_list (
    entry_id uuid primary key default uuidv7(),
    user_id uuid not null,
    gym_id uuid not null,
    period tstzrange not null,
    create_time timestamptz not null,
    -- When the member gave up waiting.
    leave_time timestamptz,
    check (lower(period) is not null and upper(period) is not null and not isempty(period)),
    check (lower_inc(period) and not upper_inc(period))
);

-- Who has left may wait again.
create unique index waiting_list_once on waiting_list (user_id, gym_id, period) where leave_time is null;
create index waiting_list_by_period on waiting_list using gist (gym_id, period) where leave_time is null;
create index waiting_list_of_gym on waiting_list (gym_id, create_time, entry_id) where leave_time is null;

-- migrate:down
drop table waiting_list;
