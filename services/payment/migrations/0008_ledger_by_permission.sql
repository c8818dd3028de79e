-- migrate:up

-- Foreign keys lock the row that they lead to, and whoever locks one needs the right to update some column of it. This
-- one is there for that: a generated column takes no value.
alter table transactions add column lockable boolean generated always as (true) virtual;

-- The triggers refuse changes of the ledger to everyone who may make them. The service may not: what its role owns, it
-- may do less with than the owner of a table could. A superuser loses nothing by this.
revoke update, delete, truncate on entries, transactions from current_user;
grant update (lockable) on transactions to current_user;

-- migrate:down

grant update, delete, truncate on entries, transactions to current_user;
alter table transactions drop column lockable;
