"""Python source of services, compared with what the contracts declare."""
