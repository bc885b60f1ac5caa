"""One call, seen from around it: its report, overrides, budgets, runs of several calls."""
