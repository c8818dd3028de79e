"""Credits: members' lots with their expiry, and the changes of their balances."""
