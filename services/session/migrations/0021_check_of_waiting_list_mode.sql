-- migrate:up
alter table calendars validate constraint calendars_waiting_list_mode;

-- migrate:down
select 1;
