"""Page of callers and their keys."""
