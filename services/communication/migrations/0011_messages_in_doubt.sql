-- migrate:up
-- Whether the mail is sent again when nobody knows how an attempt ended, as its template said when it was stored.
alter table messages add column repeats_in_doubt boolean not null default true;
-- What is sent is forgotten by its age.
create index messages_sent on messages (create_time) where status = 'SENT';

-- migrate:down
drop index messages_sent;
alter table messages drop column repeats_in_doubt;
