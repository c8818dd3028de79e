-- migrate:up

-- Erasing a reason is the only change of a ledger transaction, and of a payment whose status stays.
create function refuse_all_but_erasure() returns trigger language plpgsql as $$
begin
    -- A before trigger does not see the value of a generated column.
    if new.reason <> '' or to_jsonb(new) - 'reason' - 'lockable' <> to_jsonb(old) - 'reason' - 'lockable' then
        raise exception '% on % is refused', tg_op, tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$;

drop trigger transactions_stay on transactions;
create trigger transactions_stay before delete on transactions
    for each row execute function refuse_change();
create trigger transactions_stay_but_erasure before update on transactions
    for each row execute function refuse_all_but_erasure();
grant update (reason) on transactions to current_user;

drop trigger payments_go_forward on payments;
create trigger payments_go_forward before update on payments
    for each row
    when (new.refund_reason is distinct from ''
        or to_jsonb(new) - 'refund_reason' <> to_jsonb(old) - 'refund_reason')
    execute function refuse_payment_turn();

-- migrate:down
drop trigger payments_go_forward on payments;
create trigger payments_go_forward before update on payments
    for each row execute function refuse_payment_turn();
revoke update (reason) on transactions from current_user;
drop trigger transactions_stay_but_erasure on transactions;
drop trigger transactions_stay on transactions;
create trigger transactions_stay before update or delete on transactions
    for each row execute function refuse_change();
drop function refuse_all_but_erasure;
