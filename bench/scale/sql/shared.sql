-- Functions for the other files. The caller sets `fill.users`, `fill.gyms`, `fill.slots`, `fill.now` and the names.

create function pg_temp.number_of(setting text) returns bigint stable language sql as $$
    select current_setting('fill.' || setting)::bigint
$$;

create function pg_temp.present() returns timestamptz stable language sql as $$
    select current_setting('fill.now')::timestamptz
$$;

-- A UUIDv7 whose time encodes the kind of row and its number, so that ids of one kind ascend. All are earlier than the
-- ids that the services create. `bench/scale/population.py` has the same function.
create function pg_temp.id_of(kind int, n bigint) returns uuid immutable language sql as $$
    select (lpad(to_hex(1500000000000 + kind * 10000000000 + n * 1000), 12, '0') || '70008000000000000000')::uuid
$$;

-- The member of a session: the busy member 1 has every second session of gym 1, and all others have about equally many.
create function pg_temp.member_of(gym bigint, slot bigint) returns bigint stable language sql as $$
    select case when gym = 1 and slot % 2 = 0 then 1
        else 2 + (gym * pg_temp.number_of('slots') + slot) * 7919 % (pg_temp.number_of('users') - 1) end
$$;

-- Three sessions a day, at 8, 12 and 18 o'clock, half of them in the past.
create function pg_temp.start_of(slot bigint) returns timestamptz stable language sql as $$
    select date_trunc('day', pg_temp.present()) + make_interval(
        days => (slot / 3 - pg_temp.number_of('slots') / 6)::int, hours => (array[8, 12, 18])[1 + slot % 3]
    )
$$;
