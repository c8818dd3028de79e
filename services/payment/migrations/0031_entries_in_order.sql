-- migrate:up transaction:false
-- The changes of one balance in order, without a look at the table. Replaces `entries_of_account`.
create index concurrently if not exists entries_by_account on entries (account_id, transaction_id) include (amount);

-- migrate:down transaction:false
drop index concurrently if exists entries_by_account;
