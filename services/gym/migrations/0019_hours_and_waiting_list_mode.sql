-- migrate:up

-- Opening hours may end on the next day, at most 24 hours after they began.
-- Replicas of the previous version write no such hours. They read the later closing time as midnight.
-- squawk-ignore ban-drop-constraint
alter table gyms drop constraint gyms_closes_minute_check;
alter table gyms add constraint gyms_open_at_most_a_day check (closes_minute - opens_minute <= 1440) not valid;
alter table gyms add constraint gyms_open_before_midnight check (opens_minute < 1440) not valid;

alter table gyms add column waiting_list_mode text not null default 'notify_all';
alter table gyms add constraint gyms_waiting_list_mode
    check (waiting_list_mode in ('notify_all', 'offer_one')) not valid;

-- migrate:down
alter table gyms drop constraint gyms_open_at_most_a_day, drop constraint gyms_open_before_midnight,
    drop column waiting_list_mode, add constraint gyms_closes_minute_check check (closes_minute <= 1440);
