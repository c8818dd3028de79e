-- migrate:up
create table log_ins (
    log_in_id uuid primary key default uuidv7(),
    user_id uuid not null,
    create_time timestamptz not null,
    -- Expiry of the latest refresh token.
    expire_time timestamptz not null,
    revoke_time timestamptz
);
create index log_ins_open on log_ins (user_id) where revoke_time is null;
create index log_ins_revoked on log_ins (revoke_time, log_in_id) where revoke_time is not null;
create index log_ins_by_expiry on log_ins (expire_time);

create table refresh_tokens (
    -- SHA-256 of the token.
    token_sha256 bytea primary key check (length(token_sha256) = 32),
    log_in_id uuid not null references log_ins on delete cascade,
    expire_time timestamptz not null,
    use_time timestamptz,
    -- Token and salt together give the successor. The salt is deleted when the token has no use any more.
    salt bytea check (length(salt) = 32),
    check (salt is null or use_time is not null)
);
create index refresh_tokens_by_log_in on refresh_tokens (log_in_id);
create index refresh_tokens_by_expiry on refresh_tokens (expire_time);
create index refresh_tokens_with_salt on refresh_tokens (use_time) where salt is not null;

-- Two unused tokens would let a thief and the user go on side by side.
create view violation_log_in_without_single_token as
    select log_in_id from log_ins
    where revoke_time is null
        and (select count(*) from refresh_tokens where log_in_id = log_ins.log_in_id and use_time is null) <> 1;

-- migrate:down
drop view violation_log_in_without_single_token;
drop table refresh_tokens, log_ins;
