"""What the simulator says it billed, at the published rates: an account kept apart from ours."""

from __future__ import annotations

from decimal import Decimal

from flextier.costs import CostTotals
from flextier.sim import Simulator

# US$ per million tokens, as published: input, cached input, output.
RATES = {
    ("o3", "flex"): ("1", "0.25", "4"),
    ("o3", "default"): ("2", "0.5", "8"),
    ("o3", "priority"): ("3.5", "0.875", "14"),
    ("o4-mini", "flex"): ("0.55", "0.138", "2.2"),
    ("o4-mini", "default"): ("1.1", "0.275", "4.4"),
}
LANES = {"default": "standard"}
TOKENS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def dollars(sim: Simulator) -> Decimal:
    """US$ for all tokens that were billed."""
    billed = sim.stats()["billed"]
    return sum(
        (
            _dollars(row, RATES[model, tier])
            for model, tiers in billed.items()
            for tier, row in tiers.items()
        ),
        Decimal(0),
    )


def _dollars(row: dict[str, int], rates: tuple[str, str, str]) -> Decimal:
    plain, cached, output = map(Decimal, rates)
    fresh = row["input_tokens"] - row["cached_input_tokens"]
    total = plain * fresh + cached * row["cached_input_tokens"] + output * row["output_tokens"]
    return total / 1_000_000


def assert_adds_up(totals: CostTotals, sim: Simulator) -> None:
    """Calls and tokens, by lane and by model, and the dollars are those that were billed."""
    by_lane: dict[str, dict[str, int]] = {}
    by_model: dict[str, dict[str, int]] = {}
    for model, tiers in sim.stats()["billed"].items():
        for tier, row in tiers.items():
            lane = LANES.get(tier, tier)
            for groups, name in ((by_lane, lane), (by_model, model)):
                sums = groups.setdefault(name, {})
                for key in ("requests", *TOKENS):
                    sums[key] = sums.get(key, 0) + row[key]
    for counted, billed in ((totals.by_lane, by_lane), (totals.by_model, by_model)):
        answered = {name: sums for name, sums in counted.items() if sums.calls}
        assert answered.keys() == billed.keys()
        for name, sums in answered.items():
            assert sums.calls == billed[name]["requests"]
            assert {key: getattr(sums, key) for key in TOKENS} == {
                key: billed[name][key] for key in TOKENS
            }
    assert totals.cost == dollars(sim) > 0
    assert totals.unpriced_calls == totals.estimated_calls == 0
