"""Mails about sessions to members, guests, admins and members on a waiting list."""
