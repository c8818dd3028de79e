-- migrate:up
-- When the message stops making sense, as its template said when it was stored; null: never.
alter table messages add column expire_time timestamptz;
-- A dead message that expired: it has no recipients and no text any more, and is forgotten like one that was sent.
alter table messages add column is_expired boolean not null default false;

-- migrate:down
alter table messages drop column is_expired;
alter table messages drop column expire_time;
