-- migrate:up
-- A user has at most one code for each purpose: a new one replaces the old one.
create table codes (
    -- Also the id of the mail that contains the code.
    code_id uuid not null unique,
    user_id uuid not null,
    purpose text not null check (purpose in ('EMAIL_CONFIRMATION', 'PASSWORD_RESET')),
    expire_time timestamptz not null,
    primary key (user_id, purpose)
);
create index codes_by_expiry on codes (expire_time);

-- Each attempt to send the mail creates another code, because a code is never stored. All of them are valid.
create table code_hashes (
    -- SHA-256 of the code.
    code_sha256 bytea primary key check (length(code_sha256) = 32),
    code_id uuid not null references codes (code_id) on delete cascade,
    -- HMAC of the address that the code is sent to. Its key is the code, so the address cannot be guessed from it.
    address_mac bytea not null check (length(address_mac) = 32)
);
create index code_hashes_by_code on code_hashes (code_id);

-- migrate:down
drop table code_hashes, codes;
