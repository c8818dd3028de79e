-- migrate:up
create table messages (
    message_id uuid primary key,
    template_key text not null,
    status text not null check (status in ('QUEUED', 'SENDING', 'SENT', 'FAILED', 'DEAD')),
    -- Addresses that the mail server has not accepted yet, and the mail as it goes over the wire, the same bytes in
    -- every attempt. Both are erased when the message is sent: nobody needs the text of old mail.
    recipients text[] not null,
    mail bytea,
    email_message_id text not null unique,
    attempts integer not null default 0 check (attempts >= 0),
    -- Attempts made before an operator asked for new ones: they do not count against the limit.
    attempts_forgiven integer not null default 0 check (attempts_forgiven between 0 and attempts),
    -- When the sender takes it up: the time of the next attempt, or the end of the lease of the one under way.
    due_time timestamptz,
    last_error text not null default '' check (length(last_error) <= 500),
    -- Refused for good by the mail server, not given up for want of an answer.
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
