"""Health of the mesh: the state of each service, its likely cause, and everything that is wrong now."""
