"""Search for users: the filter, and one SQL statement for each combination of role and state.

The constants of a statement let PostgreSQL use partial indexes. The expression `_TEXT` is that of the index
`users_search` (migration 0028), and both must be the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from services.user.domain import Role, State

if TYPE_CHECKING:
    from collections.abc import Mapping

# The index of trigrams finds one or two characters only at the beginning of a word, and longer texts anywhere.
MIN_INNER_LENGTH = 3
# PostgreSQL would reuse one plan for all patterns, but a rare and a frequent text need different plans.
FORCE_CUSTOM_PLAN = "set local plan_cache_mode = force_custom_plan"

# The condition of the partial index `users_exceptions` (migration 0029).
_IS_EXCEPTION = "(state <> 'USER_STATE_ACTIVE' or roles && array['ROLE_ADMIN', 'ROLE_OWNER'])"
_TEXT = "(' ' || casefold(display_name collate pg_unicode_fast) || ' ' || casefold(email collate pg_unicode_fast))"


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Filter of a search. An empty `query` and None match every user."""

    query: str
    role: Role | None
    state: State | None

    @property
    def pattern(self) -> str | None:
        """Pattern of LIKE for the query, still in its own case; None without a query."""
        if not self.query:
            return None
        text = self.query.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        return f"%{text}%" if len(self.query) >= MIN_INNER_LENGTH else f"% {text}%"


def _statement(role: Role | None, state: State | None) -> str:
    conditions = (
        # Constant-folded: the planner drops the condition for an absent pattern, and reads the pattern otherwise.
        f"($1::text is null or {_TEXT} like casefold($1 collate pg_unicode_fast))",
        "($2::uuid is null or user_id > $2)",
        *([f"roles @> array['{role}']"] if role else []),
        *([f"state = '{state}'"] if state else []),
        *([_IS_EXCEPTION] if role in (Role.ADMIN, Role.OWNER) or state in (State.SUSPENDED, State.DELETED) else []),
    )
    return f"select * from users where {' and '.join(conditions)} order by user_id limit $3"  # noqa: S608 - constants


SEARCH: Mapping[tuple[Role | None, State | None], str] = {
    each: _statement(*each) for each in product((None, *Role), (None, *State))
}
