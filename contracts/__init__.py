"""The contracts as Python objects: policies, errors, events, and the checks of them."""
