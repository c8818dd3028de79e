"""Rate limits of servers."""
