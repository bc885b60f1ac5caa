"""The price of a usage, case by case, against the vendors' published rates.

Every amount is written as US$ per million tokens x tokens, from the vendors' pages:

- April 2025: the announcements of o3, o4-mini and flex (o3 10 / 2.50 / 40, o4-mini 1.10 / 0.275 /
  4.40, flex half of both).
- Autumn 2026: https://developers.openai.com/api/docs/pricing, its tables for standard, batch, flex,
  priority and fine-tuning; https://ai.google.dev/gemini-api/docs/pricing;
  https://platform.claude.com/docs/en/about-claude/pricing.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from flextier.costs import Usage, price
from tests.pricing.listed import skip_if_too_new

pytestmark = pytest.mark.usefixtures("no_network")

LAUNCH = date(2025, 4, 17)
SUMMER = date(2025, 7, 1)
AUTUMN = date(2026, 11, 1)

MILLION = Usage(1_000_000, 1_000_000)
SMALL = Usage(100_000, 20_000)
THOUGHTFUL = Usage(100_000, 20_000, reasoning_tokens=19_000)
CACHED = Usage(100_000, 20_000, cached_input_tokens=60_000)
ALL_CACHED = Usage(100_000, 0, cached_input_tokens=100_000)
WRITTEN = Usage(100_000, 20_000, cached_input_tokens=30_000, cache_write_tokens=50_000)
EDGE = Usage(272_000, 10_000)
LONG = Usage(272_001, 10_000)
LONG_CACHED = Usage(300_000, 10_000, cached_input_tokens=100_000)
LONG_WRITTEN = Usage(300_000, 10_000, cached_input_tokens=100_000, cache_write_tokens=50_000)


def usd(rate: str, tokens: int) -> Decimal:
    """US$ for tokens at a rate per million."""
    return Decimal(rate) * tokens / 1_000_000


def zero() -> Decimal:
    """Nothing, as one part of a cost."""
    return Decimal(0)


# model, lane, day, usage, then what is expected: (input, cached input, cache write, output), the
# same at standard in one sum, and the basis.
Case = tuple[str, str, date, Usage, tuple[Decimal, Decimal, Decimal, Decimal], Decimal, str]


def case(
    model: str,
    lane: str,
    day: date,
    usage: Usage,
    parts: tuple[Decimal, ...],
    standard: Decimal,
    basis: str = "exact",
) -> Case:
    """A case; parts that are left out are nothing."""
    plain, cached, write, output = (
        parts if len(parts) == 4 else (parts[0], zero(), zero(), parts[-1])
    )
    return (model, lane, day, usage, (plain, cached, write, output), standard, basis)


O3_LAUNCH = usd("10", 1_000_000) + usd("40", 1_000_000)
O4_LAUNCH = usd("1.10", 1_000_000) + usd("4.40", 1_000_000)
O3_SMALL = usd("2", 100_000) + usd("8", 20_000)
O3_CACHED = usd("2", 40_000) + usd("0.50", 60_000) + usd("8", 20_000)
O4_SMALL = usd("1.10", 100_000) + usd("4.40", 20_000)
O4_CACHED = usd("1.10", 40_000) + usd("0.275", 60_000) + usd("4.40", 20_000)
GPT5_CACHED = usd("1.25", 40_000) + usd("0.125", 60_000) + usd("10", 20_000)
SOL_WRITTEN = usd("2", 20_000) + usd("0.20", 30_000) + usd("2.50", 50_000) + usd("10", 20_000)
SOL_LONG = (
    usd("4", 150_000) + usd("0.40", 100_000) + usd("5", 50_000) + usd("15", 10_000)
)  # twice for input, half as much again for output

CASES: list[Case] = [
    # The launch of flex, and the months around it.
    case("o3", "standard", LAUNCH, MILLION,
         (usd("10", 1_000_000), usd("40", 1_000_000)), O3_LAUNCH),
    case(
        "o3", "flex", LAUNCH, MILLION,
        (usd("5", 1_000_000), usd("20", 1_000_000)), O3_LAUNCH, "estimated",
    ),
    case(
        "o4-mini", "standard", LAUNCH, MILLION,
        (usd("1.10", 1_000_000), usd("4.40", 1_000_000)), O4_LAUNCH,
    ),
    case(
        "o4-mini", "flex", LAUNCH, MILLION,
        (usd("0.55", 1_000_000), usd("2.20", 1_000_000)), O4_LAUNCH, "estimated",
    ),
    case(
        "o3", "batch", LAUNCH, MILLION,
        (usd("5", 1_000_000), usd("20", 1_000_000)), O3_LAUNCH, "estimated",
    ),
    case(
        "o3", "standard", LAUNCH, CACHED,
        (usd("10", 40_000), usd("2.50", 60_000), zero(), usd("40", 20_000)),
        usd("10", 40_000) + usd("2.50", 60_000) + usd("40", 20_000),
    ),
    case(
        "o3", "flex", LAUNCH, CACHED,
        (usd("5", 40_000), usd("1.25", 60_000), zero(), usd("20", 20_000)),
        usd("10", 40_000) + usd("2.50", 60_000) + usd("40", 20_000), "estimated",
    ),
    case(
        "o3", "flex", date(2025, 6, 9), SMALL,
        (usd("5", 100_000), usd("20", 20_000)),
        usd("10", 100_000) + usd("40", 20_000), "estimated",
    ),
    case("o3", "standard", date(2025, 6, 10), CACHED,
         (usd("2", 40_000), usd("0.50", 60_000), zero(), usd("8", 20_000)), O3_CACHED),
    case("o3", "flex", date(2025, 6, 10), SMALL,
         (usd("1", 100_000), usd("4", 20_000)), O3_SMALL, "estimated"),
    case("o3", "flex", SUMMER, CACHED,
         (usd("1", 40_000), usd("0.25", 60_000), zero(), usd("4", 20_000)), O3_CACHED, "estimated"),
    case("o4-mini", "flex", SUMMER, CACHED,
         (usd("0.55", 40_000), usd("0.1375", 60_000), zero(), usd("2.20", 20_000)),
         O4_CACHED, "estimated"),
    case("gpt-5", "flex", date(2025, 8, 7), SMALL,
         (usd("0.625", 100_000), usd("5", 20_000)),
         usd("1.25", 100_000) + usd("10", 20_000), "estimated"),
    # The day flex was first listed, and the day before.
    case("o3", "flex", date(2026, 10, 11), SMALL,
         (usd("1", 100_000), usd("4", 20_000)), O3_SMALL, "estimated"),
    case("o3", "flex", date(2026, 10, 12), SMALL,
         (usd("1", 100_000), usd("4", 20_000)), O3_SMALL),
    # Autumn 2026: o3 and o4-mini on each lane.
    case("o3", "standard", AUTUMN, SMALL, (usd("2", 100_000), usd("8", 20_000)), O3_SMALL),
    case("o3", "default", AUTUMN, SMALL, (usd("2", 100_000), usd("8", 20_000)), O3_SMALL),
    case("o3", "flex", AUTUMN, THOUGHTFUL, (usd("1", 100_000), usd("4", 20_000)), O3_SMALL),
    case("o3", "flex", AUTUMN, CACHED,
         (usd("1", 40_000), usd("0.25", 60_000), zero(), usd("4", 20_000)), O3_CACHED),
    case("o3", "flex", AUTUMN, ALL_CACHED,
         (zero(), usd("0.25", 100_000), zero(), zero()), usd("0.50", 100_000)),
    case("o3", "flex", AUTUMN, WRITTEN,  # no charge for writing: these are input like any other
         (usd("1", 20_000), usd("0.25", 30_000), usd("1", 50_000), usd("4", 20_000)),
         usd("2", 20_000) + usd("0.50", 30_000) + usd("2", 50_000) + usd("8", 20_000)),
    case("o3", "flex", AUTUMN, Usage(0, 0), (zero(), zero()), zero()),
    case("o3", "flex", AUTUMN, Usage(1, 1), (usd("1", 1), usd("4", 1)), usd("2", 1) + usd("8", 1)),
    case("o3", "batch", AUTUMN, SMALL, (usd("1", 100_000), usd("4", 20_000)), O3_SMALL),
    case("o3", "batch", AUTUMN, CACHED,  # the batch table has no cached rate for it
         (usd("1", 40_000), usd("1", 60_000), zero(), usd("4", 20_000)), O3_CACHED, "estimated"),
    case("o3", "priority", AUTUMN, CACHED,
         (usd("3.50", 40_000), usd("0.875", 60_000), zero(), usd("14", 20_000)), O3_CACHED),
    case("o3", "fast", AUTUMN, SMALL, (usd("3.50", 100_000), usd("14", 20_000)), O3_SMALL),
    case("o3-2025-04-16", "flex", AUTUMN, SMALL,
         (usd("1", 100_000), usd("4", 20_000)), O3_SMALL),
    case("openai/o3", "flex", AUTUMN, SMALL, (usd("1", 100_000), usd("4", 20_000)), O3_SMALL),
    case("O3", "flex", AUTUMN, SMALL, (usd("1", 100_000), usd("4", 20_000)), O3_SMALL),
    case("o3-2026-03-03", "flex", AUTUMN, SMALL,  # no such snapshot is listed
         (usd("1", 100_000), usd("4", 20_000)), O3_SMALL, "estimated"),
    case("o4-mini", "flex", AUTUMN, CACHED,
         (usd("0.55", 40_000), usd("0.138", 60_000), zero(), usd("2.20", 20_000)), O4_CACHED),
    case("o4-mini-2025-04-16", "flex", AUTUMN, THOUGHTFUL,
         (usd("0.55", 100_000), usd("2.20", 20_000)), O4_SMALL),
    case("o4-mini", "batch", AUTUMN, SMALL,
         (usd("0.55", 100_000), usd("2.20", 20_000)), O4_SMALL),
    case("o4-mini", "priority", AUTUMN, SMALL,
         (usd("2", 100_000), usd("8", 20_000)), O4_SMALL),
    # The GPT-5 family.
    case("gpt-5", "flex", AUTUMN, CACHED,
         (usd("0.625", 40_000), usd("0.0625", 60_000), zero(), usd("5", 20_000)), GPT5_CACHED),
    case("gpt-5", "batch", AUTUMN, CACHED,
         (usd("0.625", 40_000), usd("0.0625", 60_000), zero(), usd("5", 20_000)), GPT5_CACHED),
    case("gpt-5", "priority", AUTUMN, CACHED,
         (usd("2.50", 40_000), usd("0.25", 60_000), zero(), usd("20", 20_000)), GPT5_CACHED),
    case("gpt-5.1-2025-11-13", "flex", AUTUMN, CACHED,
         (usd("0.625", 40_000), usd("0.0625", 60_000), zero(), usd("5", 20_000)), GPT5_CACHED),
    case("gpt-5-mini", "flex", AUTUMN, SMALL,
         (usd("0.125", 100_000), usd("1", 20_000)), usd("0.25", 100_000) + usd("2", 20_000)),
    case("gpt-5-nano", "flex", AUTUMN, SMALL,
         (usd("0.025", 100_000), usd("0.20", 20_000)), usd("0.05", 100_000) + usd("0.40", 20_000)),
    case("gpt-5.2", "flex", AUTUMN, SMALL,
         (usd("0.875", 100_000), usd("7", 20_000)), usd("1.75", 100_000) + usd("14", 20_000)),
    case("gpt-5.4-mini", "flex", AUTUMN, SMALL,
         (usd("0.375", 100_000), usd("2.25", 20_000)), usd("0.75", 100_000) + usd("4.50", 20_000)),
    case("gpt-5-pro", "standard", AUTUMN, CACHED,  # no discount for cached input
         (usd("15", 40_000), usd("15", 60_000), zero(), usd("120", 20_000)),
         usd("15", 100_000) + usd("120", 20_000)),
    # Long prompts: the whole call at the dearer rates, from the first token above 272,000.
    case("gpt-5.4", "flex", AUTUMN, EDGE,
         (usd("1.25", 272_000), usd("7.50", 10_000)),
         usd("2.50", 272_000) + usd("15", 10_000)),
    case("gpt-5.4", "flex", AUTUMN, LONG,
         (usd("2.50", 272_001), usd("11.25", 10_000)),
         usd("5", 272_001) + usd("22.50", 10_000)),
    case("gpt-5.4", "flex", AUTUMN, LONG_CACHED,
         (usd("2.50", 200_000), usd("0.25", 100_000), zero(), usd("11.25", 10_000)),
         usd("5", 200_000) + usd("0.50", 100_000) + usd("22.50", 10_000)),
    case("gpt-5.4", "flex", AUTUMN, CACHED,
         (usd("1.25", 40_000), usd("0.13", 60_000), zero(), usd("7.50", 20_000)),
         usd("2.50", 40_000) + usd("0.25", 60_000) + usd("15", 20_000)),
    case("gpt-5.4", "standard", AUTUMN, LONG,
         (usd("5", 272_001), usd("22.50", 10_000)),
         usd("5", 272_001) + usd("22.50", 10_000)),
    case("gpt-5.4-pro", "flex", AUTUMN, LONG,
         (usd("30", 272_001), usd("135", 10_000)),
         usd("60", 272_001) + usd("270", 10_000)),
    case("gpt-5.5-pro", "flex", AUTUMN, SMALL,
         (usd("15", 100_000), usd("90", 20_000)), usd("30", 100_000) + usd("180", 20_000)),
    case("gpt-5.5-pro", "flex", AUTUMN, LONG,  # flex is listed for short prompts only
         (usd("30", 272_001), usd("135", 10_000)),
         usd("60", 272_001) + usd("270", 10_000), "estimated"),
    case("gpt-5.4", "flex", date(2026, 3, 10), LONG,
         (usd("2.50", 272_001), usd("11.25", 10_000)),
         usd("5", 272_001) + usd("22.50", 10_000), "estimated"),
    # Cache writes that cost extra, and price cuts.
    case("gpt-5.6-sol", "flex", AUTUMN, WRITTEN,
         (usd("2", 20_000), usd("0.20", 30_000), usd("2.50", 50_000), usd("10", 20_000)),
         usd("4", 20_000) + usd("0.40", 30_000) + usd("5", 50_000) + usd("20", 20_000)),
    case("gpt-5.6-sol", "standard", date(2026, 8, 20), SMALL,
         (usd("5", 100_000), usd("30", 20_000)), usd("5", 100_000) + usd("30", 20_000)),
    case("gpt-5.6-sol", "standard", date(2026, 8, 21), SMALL,
         (usd("4", 100_000), usd("20", 20_000)), usd("4", 100_000) + usd("20", 20_000)),
    case("gpt-5.6-sol", "flex", date(2026, 8, 20), SMALL,
         (usd("2.50", 100_000), usd("15", 20_000)),
         usd("5", 100_000) + usd("30", 20_000), "estimated"),
    case("gpt-5.6-luna", "flex", AUTUMN, SMALL,
         (usd("0.10", 100_000), usd("0.60", 20_000)), usd("0.20", 100_000) + usd("1.20", 20_000)),
    case("gpt-5.6", "flex", AUTUMN, SMALL,
         (usd("2", 100_000), usd("10", 20_000)), usd("4", 100_000) + usd("20", 20_000)),
    case("gpt-6-sol", "flex", AUTUMN, WRITTEN,
         (usd("1", 20_000), usd("0.10", 30_000), usd("1.25", 50_000), usd("5", 20_000)),
         SOL_WRITTEN),
    case("gpt-6-sol", "flex", AUTUMN, LONG_WRITTEN,
         (usd("2", 150_000), usd("0.20", 100_000), usd("2.50", 50_000), usd("7.50", 10_000)),
         SOL_LONG),
    case("gpt-6-sol", "priority", AUTUMN, LONG_WRITTEN,
         (usd("8", 150_000), usd("0.80", 100_000), usd("10", 50_000), usd("30", 10_000)),
         SOL_LONG),
    case("gpt-6-astra", "flex", AUTUMN, SMALL,
         (usd("5", 100_000), usd("25", 20_000)), usd("10", 100_000) + usd("50", 20_000)),
    case("gpt-6-luna", "flex", AUTUMN, SMALL,
         (usd("0.05", 100_000), usd("0.25", 20_000)), usd("0.10", 100_000) + usd("0.50", 20_000)),
    case("gpt-6.1-sol", "flex", AUTUMN, CACHED,
         (usd("1", 40_000), usd("0.05", 60_000), zero(), usd("5", 20_000)),
         usd("2", 40_000) + usd("0.10", 60_000) + usd("10", 20_000)),
    case("gpt-6.1-terra", "flex", AUTUMN, CACHED,
         (usd("0.50", 40_000), usd("0.025", 60_000), zero(), usd("2.50", 20_000)),
         usd("1", 40_000) + usd("0.05", 60_000) + usd("5", 20_000)),
    # Fine-tuned models have rates of their own.
    case("ft:o4-mini-2025-04-16:org::id", "standard", AUTUMN, CACHED,
         (usd("4", 40_000), usd("1", 60_000), zero(), usd("16", 20_000)),
         usd("4", 40_000) + usd("1", 60_000) + usd("16", 20_000)),
    case("ft:o4-mini-2025-04-16:org::id", "flex", AUTUMN, SMALL,
         (usd("2", 100_000), usd("8", 20_000)),
         usd("4", 100_000) + usd("16", 20_000), "estimated"),
    case("ft:o4-mini-2025-04-16:org::id", "batch", AUTUMN, SMALL,
         (usd("2", 100_000), usd("8", 20_000)),
         usd("4", 100_000) + usd("16", 20_000), "estimated"),
    case("ft:gpt-4.1-mini-2025-04-14:org:name:id:ckpt-step-7", "standard", AUTUMN, CACHED,
         (usd("0.80", 40_000), usd("0.20", 60_000), zero(), usd("3.20", 20_000)),
         usd("0.80", 40_000) + usd("0.20", 60_000) + usd("3.20", 20_000)),
    case("ft:gpt-4o-mini-2024-07-18:org::id", "standard", AUTUMN, CACHED,
         (usd("0.30", 40_000), usd("0.15", 60_000), zero(), usd("1.20", 20_000)),
         usd("0.30", 40_000) + usd("0.15", 60_000) + usd("1.20", 20_000)),
    case("ft:gpt-3.5-turbo-0125:org::id", "standard", AUTUMN, SMALL,
         (usd("3", 100_000), usd("6", 20_000)), usd("3", 100_000) + usd("6", 20_000)),
    # Other vendors, to compare with.
    case("gemini-2.5-flash", "standard", AUTUMN, CACHED,
         (usd("0.30", 40_000), usd("0.03", 60_000), zero(), usd("2.50", 20_000)),
         usd("0.30", 40_000) + usd("0.03", 60_000) + usd("2.50", 20_000)),
    case("google/gemini-2.5-flash", "batch", AUTUMN, SMALL,
         (usd("0.15", 100_000), usd("1.25", 20_000)),
         usd("0.30", 100_000) + usd("2.50", 20_000)),
    case("gemini-2.5-flash", "batch", AUTUMN, CACHED,
         (usd("0.15", 40_000), usd("0.03", 60_000), zero(), usd("1.25", 20_000)),
         usd("0.30", 40_000) + usd("0.03", 60_000) + usd("2.50", 20_000), "estimated"),
    case("gemini-2.5-pro", "standard", AUTUMN, LONG_CACHED,
         (usd("2.50", 200_000), usd("0.25", 100_000), zero(), usd("15", 10_000)),
         usd("2.50", 200_000) + usd("0.25", 100_000) + usd("15", 10_000)),
    case("claude-opus-5", "batch", AUTUMN, WRITTEN,
         (usd("2.50", 20_000), usd("0.25", 30_000), usd("3.125", 50_000), usd("12.50", 20_000)),
         usd("5", 20_000) + usd("0.50", 30_000) + usd("6.25", 50_000) + usd("25", 20_000)),
]  # fmt: skip


def _name(found: Case) -> str:
    return f"{found[0]}-{found[1]}-{found[2]}-{found[6]}"


@pytest.mark.parametrize("found", CASES, ids=_name)
def test_published_prices(found: Case) -> None:
    """Each part, the total, standard and the saving are the vendor's, to the last digit."""
    model, lane, day, usage, parts, standard, basis = found
    skip_if_too_new(model)
    cost = price(usage, model=model, lane=lane, at=day)
    assert (cost.input, cost.cached_input, cost.cache_write, cost.output) == parts
    assert cost.total == sum(parts)
    assert cost.standard == standard
    assert cost.saved == standard - sum(parts)
    assert cost.basis == basis
    assert (cost.reason is None) == (basis == "exact")


UNPRICED = [
    ("gpt-4.1", "flex", AUTUMN, SMALL, "no flex rate of openai/gpt-4.1 is listed"),
    ("gpt-4o", "flex", AUTUMN, SMALL, "no flex rate"),
    ("gpt-5.3-codex", "flex", AUTUMN, SMALL, "no flex rate"),
    ("ft:gpt-4.1-2025-04-14:org::id", "flex", AUTUMN, SMALL, "no flex rate"),
    ("ft:o4-mini-2025-04-16:org::id", "priority", AUTUMN, SMALL, "no priority rate"),
    ("gpt-6.9-sol", "flex", AUTUMN, SMALL, "no price of a model 'gpt-6.9-sol'"),
    ("gpt-6.9-sol", "standard", AUTUMN, SMALL, "no price of a model 'gpt-6.9-sol'"),
    ("ft:gpt-9:org::id", "standard", AUTUMN, SMALL, "no price of a model"),
    ("ft:", "standard", AUTUMN, SMALL, "no price of a model"),
    ("", "standard", AUTUMN, SMALL, "no price of a model"),
    ("my-model", "standard", AUTUMN, SMALL, "no price of a model 'my-model'"),
    ("o3", "flex", date(2025, 4, 16), SMALL, "not sold before 2025-04-17"),
    ("gpt-4-turbo", "batch", date(2024, 4, 14), SMALL, "not sold before 2024-04-15"),
    ("o3", "priority", SUMMER, SMALL, "no priority rate of openai/o3 is listed before 2026-10-12"),
    ("gpt-5.4", "priority", AUTUMN, LONG, "above 272000 input tokens"),
    ("o3", "scale", AUTUMN, SMALL, "units"),
    ("o3", "turbo", AUTUMN, SMALL, "no price of a lane 'turbo'"),
    ("o3", "FLEX", AUTUMN, SMALL, "no price of a lane 'FLEX'"),
    ("gemini-2.5-flash", "flex", AUTUMN, SMALL, "no flex rate of google/gemini-2.5-flash"),
    ("gemini-2.5-flash", "batch", date(2026, 10, 1), SMALL, "listed before 2026-10-14"),
    ("claude-opus-5", "flex", AUTUMN, SMALL, "no flex rate"),
    ("azure/o3", "flex", AUTUMN, SMALL, "no flex rate of azure/"),
    ("whisper-1", "standard", AUTUMN, SMALL, "not sold by the token"),
]


@pytest.mark.parametrize(("model", "lane", "day", "usage", "words"), UNPRICED)
def test_what_has_no_known_price(
    model: str, lane: str, day: date, usage: Usage, words: str
) -> None:
    """It is unpriced and says why; no amount is made up, not even zero."""
    cost = price(usage, model=model, lane=lane, at=day)
    assert cost.basis == "unpriced"
    assert cost.reason is not None
    assert words in cost.reason
    amounts = (cost.input, cost.cached_input, cost.cache_write, cost.output)
    assert (*amounts, cost.total, cost.standard, cost.saved, cost.rates) == (None,) * 8
