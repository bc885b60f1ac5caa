"""One call on its way through the lanes."""
