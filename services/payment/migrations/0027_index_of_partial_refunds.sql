-- migrate:up transaction:false
create index concurrently if not exists transactions_partial_refunds on transactions (payment_id)
    where kind = 'partial_refund';

-- migrate:down transaction:false
drop index concurrently if exists transactions_partial_refunds;
