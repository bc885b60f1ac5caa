"""Prices: token usage, rates by lane, and the price list they come from."""
