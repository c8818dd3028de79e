"""Auth: who a user is, shown by tokens that other services verify. Contract only."""
