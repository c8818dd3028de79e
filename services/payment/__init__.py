"""The payment service: charges and refunds each session at most once, and accounts for members' credits."""
