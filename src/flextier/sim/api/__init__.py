"""The simulated endpoints, and the server that they run in."""
