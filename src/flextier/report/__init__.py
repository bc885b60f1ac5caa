"""Reports on a ledger: costs and savings of calls, and refusals of flex."""
