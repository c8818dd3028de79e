-- migrate:up transaction:false
drop index concurrently if exists entries_of_account;

-- migrate:down transaction:false
create index concurrently if not exists entries_of_account on entries (account_id);
