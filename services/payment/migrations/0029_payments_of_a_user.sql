-- migrate:up transaction:false
create index concurrently if not exists payments_of_user on payments (user_id);

-- migrate:down transaction:false
drop index concurrently if exists payments_of_user;
