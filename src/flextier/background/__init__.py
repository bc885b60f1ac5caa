"""Background responses: created, polled until they end, cancelled at the deadline."""
