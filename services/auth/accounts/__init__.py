"""Sign-up, confirmation of email addresses, and departure of users."""
