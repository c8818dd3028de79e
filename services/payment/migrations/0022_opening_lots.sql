-- migrate:up transaction:false
-- Existing balances become lots that never expire, a hundred accounts at a time, so that no charge waits for long. A
-- version without lots that charges meanwhile settles the account itself, by the trigger of the previous file.
do $$
declare
    last_account bigint := 0;
    batch bigint[];
    each_account bigint;
begin
    loop
        select array_agg(account_id order by account_id) into batch from (
            select account_id from accounts where kind = 'member' and account_id > last_account
            order by account_id limit 100
        ) as next;
        exit when batch is null;
        foreach each_account in array batch loop
            perform settle_lots(each_account, null);
        end loop;
        last_account := batch[cardinality(batch)];
        commit;
    end loop;
end $$;

-- migrate:down transaction:false
select 1;
