-- migrate:up
-- The contract now refuses control characters and line breaks in these texts, in answers too: without this, every answer
-- with a row from before would fail.
update payments set refund_reason = regexp_replace(refund_reason, '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]', ' ', 'g')
    where refund_reason ~ '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]';

-- migrate:down
-- The texts before are not known any more.
select 1;
