-- migrate:up
alter table gyms validate constraint gyms_open_at_most_a_day;
alter table gyms validate constraint gyms_open_before_midnight;
alter table gyms validate constraint gyms_waiting_list_mode;

-- migrate:down
select 1;
