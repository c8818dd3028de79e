"""Console: the page of a running mesh."""
