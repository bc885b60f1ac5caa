"""Background responses: accepted at once, polled until they are done, cancelled in time."""
