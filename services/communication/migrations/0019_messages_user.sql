-- migrate:up
-- The recipient's id at the user service; null for a recipient without an account, such as a guest.
alter table messages add column user_id uuid;

-- migrate:down
alter table messages drop column user_id;
