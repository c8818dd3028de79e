-- migrate:up

-- What nobody has decided upon when it begins is found by time.
create index sessions_unapproved on sessions (lower(period)) where status = 'pending_approval';

-- Whether the price of a cancelled session is given back in credits, whatever paid it: the member is told so.
alter table sessions add column refunded_in_credits boolean not null default false;

-- migrate:down
alter table sessions drop column refunded_in_credits;
drop index sessions_unapproved;
