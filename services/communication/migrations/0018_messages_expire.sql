-- migrate:up
-- The message is not sent after this time. Computed from the template's lifetime at creation. Null: never expires.
alter table messages add column expire_time timestamptz;
-- Dead because the message expired. An expired message has no recipients and no text, and is deleted by age like a sent
-- one.
alter table messages add column is_expired boolean not null default false;

-- migrate:down
alter table messages drop column is_expired;
alter table messages drop column expire_time;
