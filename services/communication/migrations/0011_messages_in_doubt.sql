-- migrate:up
-- Whether the mail is sent again after an attempt with an unknown outcome. Copied from the template at creation.
alter table messages add column repeats_in_doubt boolean not null default true;
-- Dead because the mail may have been sent, not because it was refused or ran out of attempts.
alter table messages add column may_have_been_sent boolean not null default false;
-- Sent messages are deleted by age.
create index messages_sent on messages (create_time) where status = 'SENT';

-- migrate:down
drop index messages_sent;
alter table messages drop column may_have_been_sent;
alter table messages drop column repeats_in_doubt;
