-- migrate:up
-- 0017 cleans the reasons of refunds too, but a refunded payment lets nobody change it. Whoever has 0017 has no row left
-- that this changes.
alter table payments disable trigger payments_go_forward;
update payments set refund_reason = regexp_replace(refund_reason, '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]', ' ', 'g')
    where refund_reason ~ '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]';
alter table payments enable trigger payments_go_forward;
-- What goes back late is refunded for this reason.
update sessions set void_reason = regexp_replace(void_reason, '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]', ' ', 'g')
    where void_reason ~ '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]';

-- migrate:down
-- The texts before are not known any more.
select 1;
