-- migrate:up transaction:false
create index concurrently if not exists guests_to_erase on guests (session_id) where email <> '';

-- migrate:down transaction:false
drop index concurrently if exists guests_to_erase;
