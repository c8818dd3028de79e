"""Pages of the local inbox and of failed mail."""
