"""The session service: books a gym for one member, as a whole or not at all."""
