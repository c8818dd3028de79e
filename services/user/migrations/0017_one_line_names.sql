-- migrate:up
-- The contract now refuses control characters and line breaks in these texts, in answers too: without this, every answer
-- with a row from before would fail.
update users set display_name = regexp_replace(display_name, '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]', ' ', 'g')
    where display_name ~ '[\u0001-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069]';
-- Nor may a name be blank.
update users set display_name = 'Member'
    where display_name ~ '^[\u0001- \u007F-\u00A0\u00AD\u034F\u061C\u115F\u1160\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F\u2800\u3000\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFB\U0001D173-\U0001D17A\U000E0000-\U000E0FFF]*$';

-- migrate:down
-- The names before are not known any more.
select 1;
