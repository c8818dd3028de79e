"""The payment service: takes the price of a session once, gives it back once, and keeps the members' credits."""
