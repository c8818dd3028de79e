"""User: who may use Solo60, under which email address, and in which roles."""
