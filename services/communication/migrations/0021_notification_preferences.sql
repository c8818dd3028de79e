-- migrate:up
create table notification_preferences (
    user_id uuid primary key,
    -- Categories of mail that the user does not get. Other categories are sent, also those of a later version.
    switched_off text[] not null,
    update_time timestamptz not null
);
-- The category of the template; null in rows of an older version, which are always sent.
alter table messages add column category text;
-- A dead message that the user has switched off: it has no recipients and no text any more. A status of its own would
-- stop replicas of the previous version.
alter table messages add column is_suppressed boolean not null default false;

-- migrate:down
alter table messages drop column is_suppressed;
alter table messages drop column category;
drop table notification_preferences;
