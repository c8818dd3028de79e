-- migrate:up
alter table transactions validate constraint transactions_kind_is_known;
alter table accounts validate constraint accounts_kind_is_known;

-- migrate:down
select 1;
