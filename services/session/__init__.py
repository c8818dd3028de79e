"""The session service: books a gym for one member, and undoes a booking that fails halfway."""
