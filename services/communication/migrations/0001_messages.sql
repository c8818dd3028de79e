-- migrate:up
create table messages (
    message_id uuid primary key,
    template_key text not null,
    status text not null check (status in ('QUEUED', 'SENDING', 'SENT', 'FAILED', 'DEAD')),
    -- Addresses that the mail server has not accepted yet, and the mail as sent over the wire, the same bytes in every
    -- attempt. Addresses and mail are erased when the message is sent, because they are personal data.
    recipients text[] not null,
    mail bytea,
    email_message_id text not null unique,
    attempts integer not null default 0 check (attempts >= 0),
    -- Attempts before the last RetryMessage call, not counted against the limit.
    attempts_forgiven integer not null default 0 check (attempts_forgiven between 0 and attempts),
    -- Time of the next attempt, or end of the current attempt's lease.
    due_time timestamptz,
    last_error text not null default '' check (length(last_error) <= 500),
    -- Refused permanently by the mail server. False if the message is dead for another reason.
    is_refused boolean not null default false,
    correlation_id text not null,
    traceparent text not null,
    create_time timestamptz not null,
    send_time timestamptz,
    check ((due_time is null) = (status in ('SENT', 'DEAD'))),
    check ((send_time is not null) = (status = 'SENT')),
    check ((mail is null) = (status = 'SENT'))
);
create index messages_due on messages (due_time) where due_time is not null;
create index messages_failed on messages (create_time, message_id) where status in ('FAILED', 'DEAD');

create table idempotency_keys (
    caller text not null,
    request_type text not null,
    key text not null,
    request_sha256 bytea not null,
    response bytea,
    create_time timestamptz not null default now(),
    primary key (caller, request_type, key)
);

-- migrate:down
drop table idempotency_keys;
drop table messages;
