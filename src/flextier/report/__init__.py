"""Reports on a ledger: what calls cost, what they saved, and how flex behaved."""
