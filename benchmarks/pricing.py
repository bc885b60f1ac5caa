"""CPU time of pricing one call, by that of asking genai-prices for the same.

The same usage and model, priced again and again on one lane: ``flextier.costs.price`` against
``genai_prices.calc_price`` with the lane's context. Ours also says what standard would have cost,
which with genai-prices is a second question; it is not asked here.

Both have priced this model before: the first price of a process loads the list, and the first of a
model, lane and day reads its entry, which the lines below the table count.

    python benchmarks/pricing.py
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import genai_prices
from _measure import Result, Work, cpu_pairs, summary

from flextier.costs import Usage, price

ROUNDS = 60
PRICES = 200

_OURS = Usage(12_000, 900, cached_input_tokens=8_000, reasoning_tokens=600)
_THEIRS = genai_prices.Usage(
    input_tokens=12_000,
    output_tokens=900,
    cache_read_tokens=8_000,
    output_reasoning_tokens=600,
)
_FIRST = """
from time import process_time
from flextier.costs import Usage, price
began = process_time()
price(Usage(1, 1), model="o3", lane="flex")
loaded = process_time()
price(Usage(1, 1), model="o4-mini", lane="flex")
print(loaded - began, process_time() - loaded)
"""


def measure(rounds: int = ROUNDS) -> list[Result]:
    """One lane listed, and standard."""
    return [
        _measured("flex", {"service_tier": "flex"}, rounds),
        _measured("standard", None, rounds),
    ]


def _measured(lane: str, context: dict[str, str] | None, rounds: int) -> Result:
    pairs = cpu_pairs(_ours(lane), _theirs(context), rounds=rounds, units=PRICES)
    return summary(f"price, {lane}", pairs, "price")


def _ours(lane: str) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            price(_OURS, model="o3", lane=lane)

    return work


def _theirs(context: Any) -> Work:
    def work(count: int) -> None:
        for _ in range(count):
            genai_prices.calc_price(_THEIRS, "o3", provider_id="openai", price_context=context)

    return work


def first() -> tuple[float, float]:
    """CPU seconds of a process's first price, and of the first of another model."""
    done = subprocess.run(
        [sys.executable, "-c", _FIRST], capture_output=True, text=True, check=True
    )
    of_all, of_model = map(float, done.stdout.split())
    return of_all, of_model


def main() -> None:
    """Print one line a lane, and what the first prices cost."""
    for result in measure():
        print(f"{result}, {result.ours:,.1f} us")
    of_all, of_model = first()
    print(f"  first of a process: {of_all * 1e3:,.0f} ms; of a model: {of_model * 1e6:,.0f} us")


if __name__ == "__main__":
    main()
