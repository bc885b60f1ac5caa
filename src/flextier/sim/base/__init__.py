"""Building blocks of the simulator: errors, clocks, tokens, server-sent events."""
