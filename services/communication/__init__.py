"""Communication service: mail from templates, stored before it is sent, so that accepted mail is not lost."""
