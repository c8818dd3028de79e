-- migrate:up transaction:false
create index concurrently if not exists guests_by_address on guests (folded_email) where email <> '';

-- migrate:down transaction:false
drop index concurrently if exists guests_by_address;
