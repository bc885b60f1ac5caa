"""How the simulated provider behaves: weather, faults, outcomes of deferred work."""
