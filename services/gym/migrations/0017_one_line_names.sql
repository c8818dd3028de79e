-- migrate:up
-- The contract now refuses control characters and line breaks in these texts, in answers too: without this, every answer
-- with a row from before would fail.
update gyms set name = regexp_replace(name, '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]', ' ', 'g')
    where name ~ '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]';
update gyms set noise_policy = regexp_replace(noise_policy, '[\u0001-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]', ' ', 'g')
    where noise_policy ~ '[\u0001-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]';
-- Nor may a name be blank.
update gyms set name = 'Gym ' || gym_id
    where name ~ '^[\u0001- \u007F-\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFB\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]*$';

-- Names are equal, and in order, without regard to case and to how letters with accents are composed (Unicode, section
-- 3.13, canonical caseless matching). Gyms are few: writing the table anew takes no time.
alter table gyms alter column folded_name
    set expression as (normalize(casefold(normalize(name, nfc) collate pg_unicode_fast), nfc));

-- migrate:down
alter table gyms alter column folded_name set expression as (casefold(name collate pg_unicode_fast));
