-- migrate:up
-- Lets the index of the next migration contain the state, an ordinary text, beside the trigrams of names.
create extension if not exists btree_gin;

-- migrate:down
drop extension btree_gin;
