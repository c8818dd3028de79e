"""Page of the live logs."""
