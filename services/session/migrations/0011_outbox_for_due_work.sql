-- migrate:up

-- What was due about sessions goes into the outbox, and the columns that kept it go. A payload is a protobuf message:
-- a field's tag, the length of its text, the text.
create function pg_temp.text_field(tag text, value text) returns bytea language sql as $$
    select decode(tag, 'hex') || set_byte('\x00', 0, octet_length(value)) || convert_to(value, 'UTF8')
$$;

-- RefundSessionRequest: session_id, reason.
insert into outbox (message_id, destination, payload, correlation_id, traceparent)
    select gen_random_uuid(), 'solo60.payment.v1.PaymentService/RefundSession',
        pg_temp.text_field('0a', session_id::text) || pg_temp.text_field('12', 'session cancelled'), correlation_id, ''
    from sessions where refund_due;

-- SendSessionMailRequest: session_id, template_key.
insert into outbox (message_id, destination, payload, aggregate_key, correlation_id, traceparent)
    select gen_random_uuid(), 'solo60.session.v1.SessionService/SendSessionMail',
        pg_temp.text_field('0a', session_id::text) || pg_temp.text_field('12', mail), session_id, correlation_id, ''
    from sessions cross join unnest(mails_due) with ordinality as due (mail, position)
    order by session_id, position;

-- Until when a slot is held for a booking that is not confirmed.
alter table sessions add column expire_time timestamptz;
update sessions set expire_time = due_time where status = 'pending_payment';
alter table sessions drop column refund_due, drop column mails_due, drop column due_time, drop column due_attempts;
alter table sessions add check ((expire_time is not null) = (status = 'pending_payment'));
create index sessions_held on sessions (expire_time) where status = 'pending_payment';

-- migrate:down

alter table sessions drop column expire_time,
    add column refund_due boolean not null default false,
    add column mails_due text[] not null default '{}',
    add column due_time timestamptz,
    add column due_attempts integer not null default 0;
