"""Retry budget: calls are sent more than once only as long as most of them succeed (gRFC A6)."""

from __future__ import annotations

from contracts.service_config import MAX_TOKENS, TOKEN_RATIO


class RetryBudget:
    """The tokens of one callee: full at first, less with each failure and each further attempt, more with each success.

    Further attempts are in order while more than half of the tokens are there, and each costs one. So they are at most
    10 at once, and in the long run at most a tenth of the calls that succeed: gRFC A6's throttle, and also where the
    callee is not failing but slow.
    """

    __slots__ = ("_max_tokens", "_token_ratio", "_tokens")

    def __init__(self, max_tokens: float = MAX_TOKENS, token_ratio: float = TOKEN_RATIO) -> None:
        self._tokens = self._max_tokens = max_tokens
        self._token_ratio = token_ratio

    @property
    def tokens(self) -> float:
        """How many tokens are there, from 0 to the maximum."""
        return self._tokens

    def spend(self) -> bool:
        """Take the token for one further attempt; return False where none may be sent."""
        if self._tokens <= self._max_tokens / 2:
            return False
        self._tokens -= 1
        return True

    def record(self, *, failed: bool) -> None:
        """Note how one attempt ended."""
        if failed:
            self._tokens = max(self._tokens - 1, 0.0)
        elif self._tokens < self._max_tokens:
            self._tokens = min(self._tokens + self._token_ratio, self._max_tokens)


class RetryBudgets:
    """The budgets of one process, one for each service that it calls."""

    def __init__(self) -> None:
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, service: str) -> RetryBudget:
        """Return the budget of a service, by its full name."""
        return self._budgets.get(service) or self._budgets.setdefault(service, RetryBudget())
