"""Python source of services: the calls, events and errors in it, for the checks that compare it with the contracts."""
