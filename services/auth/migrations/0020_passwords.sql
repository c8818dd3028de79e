-- migrate:up
create table passwords (
    user_id uuid primary key,
    -- Argon2id in the PHC string format, with its parameters and its salt.
    password_hash text not null check (password_hash like '$argon2id$%'),
    -- Time when the user set the password. A new hash of the same password does not change this time.
    change_time timestamptz not null
);

-- Attempts to log in without success, counted per address and per source, whether or not the address has an account.
create table failed_attempts (
    -- SHA-256 of the address or of the source.
    subject bytea primary key check (length(subject) = 32),
    failures integer not null check (failures >= 0),
    last_time timestamptz not null
);
create index failed_attempts_by_age on failed_attempts (last_time);

-- Sources that have logged in to an account. They do not wait for other sources' wrong passwords.
create table known_sources (
    user_id uuid not null,
    -- SHA-256 of the address and the source together.
    pair bytea not null check (length(pair) = 32),
    last_time timestamptz not null,
    primary key (pair, user_id)
);
create index known_sources_by_user on known_sources (user_id);
create index known_sources_by_age on known_sources (last_time);

-- migrate:down
drop table known_sources, failed_attempts, passwords;
