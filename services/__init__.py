"""The services of Solo60: one folder for each contract with a `default_port`."""
