-- Delivered messages and stored answers, in each database.
insert into outbox (message_id, destination, payload, correlation_id, traceparent, status, due_time, settle_time)
select pg_temp.id_of(9, n), 'solo60.session.v1.SessionService/SendSessionMail', decode(repeat('00', 80), 'hex'),
    md5(n::text), '', 'delivered', null, now()
from generate_series(1, pg_temp.number_of('users') / 2) as n;
insert into idempotency_keys (caller, request_type, key, request_sha256, response, subject_ids)
select 'session', 'solo60.payment.v1.ChargeSessionRequest', md5(n::text), sha256(n::text::bytea),
    decode(repeat('00', 200), 'hex'), array[pg_temp.id_of(1, n)]
from generate_series(1, pg_temp.number_of('users') / 2) as n;
