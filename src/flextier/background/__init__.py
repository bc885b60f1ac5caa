"""Background responses: accepted at once, asked about until they are done, called off in time."""
