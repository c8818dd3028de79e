"""The communication service: mail from templates, stored before it is sent, so that no accepted mail is lost."""
