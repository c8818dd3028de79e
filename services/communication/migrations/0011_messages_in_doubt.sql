-- migrate:up
-- Whether the mail is sent again when nobody knows how an attempt ended, as its template said when it was stored.
alter table messages add column repeats_in_doubt boolean not null default true;
-- Given up because it may have been sent, not refused and not for want of attempts.
alter table messages add column may_have_been_sent boolean not null default false;
-- What is sent is forgotten by its age.
create index messages_sent on messages (create_time) where status = 'SENT';

-- migrate:down
drop index messages_sent;
alter table messages drop column may_have_been_sent;
alter table messages drop column repeats_in_doubt;
