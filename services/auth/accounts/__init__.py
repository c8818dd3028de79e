"""Sign-up and confirmation of email addresses."""
