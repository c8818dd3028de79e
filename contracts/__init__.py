"""The contracts as Python objects: policies, errors, events, and the linter that checks them."""
