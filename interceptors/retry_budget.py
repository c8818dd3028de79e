"""Retry budget: limits further attempts to a share of the successful calls (gRFC A6)."""

from __future__ import annotations

from contracts.service_config import MAX_TOKENS, TOKEN_RATIO


class RetryBudget:
    """Token bucket of one callee: failures and further attempts take tokens, successes add tokens.

    The bucket starts full. A further attempt costs one token and is allowed while more than half of the tokens remain.
    So there are at most 10 further attempts at once, and in the long run at most one for ten successful calls. The
    algorithm is gRFC A6's throttle, and here also covers a callee that is slow but not failing.
    """

    __slots__ = ("_max_tokens", "_token_ratio", "_tokens")

    def __init__(self, max_tokens: float = MAX_TOKENS, token_ratio: float = TOKEN_RATIO) -> None:
        self._tokens = self._max_tokens = max_tokens
        self._token_ratio = token_ratio

    def spend(self) -> bool:
        """Take the token for one further attempt; return False if none may be sent."""
        if self._tokens <= self._max_tokens / 2:
            return False
        self._tokens -= 1
        return True

    def record(self, *, failed: bool) -> None:
        """Record the outcome of one attempt."""
        if failed:
            self._tokens = max(self._tokens - 1, 0.0)
        elif self._tokens < self._max_tokens:
            self._tokens = min(self._tokens + self._token_ratio, self._max_tokens)


class RetryBudgets:
    """Retry budgets of one process, one per called service."""

    def __init__(self) -> None:
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, service: str) -> RetryBudget:
        """Return the budget of a service, given its full name."""
        return self._budgets.get(service) or self._budgets.setdefault(service, RetryBudget())
