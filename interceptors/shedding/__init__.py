"""Load shedding of servers."""
