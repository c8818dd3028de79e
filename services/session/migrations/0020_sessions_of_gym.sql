-- migrate:up transaction:false
create index concurrently if not exists sessions_of_gym on sessions (gym_id, lower(period), session_id);

-- migrate:down
drop index sessions_of_gym;
