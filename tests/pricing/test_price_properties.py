"""Laws of prices, over models, days and usages."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, localcontext

import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from flextier.costs import Usage, price

pytestmark = pytest.mark.usefixtures("no_network")

OPENAI = next(provider for provider in providers if provider.id == "openai")
FLEX = [
    model.id
    for model in OPENAI.models
    if any(variant.when == {"service_tier": "flex"} for variant in model.price_variants or ())
]
WINDOWS = {"background-2h": Decimal("0.7"), "background-8h": Decimal("0.6")}
LANES = ["standard", "flex", "batch", "priority", "background-soonest", *WINDOWS]
TUNED = "ft:o4-mini-2025-04-16:org::id"


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Any usage that can be, short and long."""
    inputs = draw(st.integers(0, 2_000_000))
    cached = draw(st.integers(0, inputs))
    output = draw(st.integers(0, 500_000))
    return Usage(
        input_tokens=inputs,
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=draw(st.integers(0, inputs - cached)),
        reasoning_tokens=draw(st.integers(0, output)),
    )


models = st.sampled_from([*FLEX, TUNED])
days = st.dates(date(2026, 10, 27), date(2027, 6, 30))


def test_there_are_flex_models() -> None:
    """The laws below are about something."""
    assert {"o3", "o4-mini", "gpt-5", "gpt-6-sol"} <= set(FLEX)


@given(usages(), models, days)
def test_flex_never_costs_more_than_standard(usage: Usage, model: str, day: date) -> None:
    """Nor does any part of it."""
    flex = price(usage, model=model, lane="flex", at=day)
    standard = price(usage, model=model, lane="standard", at=day)
    assert flex.saved is not None
    assert flex.saved >= 0
    assert flex.standard == standard.total
    for part in ("input", "cached_input", "cache_write", "output"):
        assert getattr(flex, part) <= getattr(standard, part)


@given(
    usages(), st.sampled_from(["o3", "o4-mini"]), st.dates(date(2025, 4, 17), date(2026, 10, 11))
)
def test_flex_is_half_before_it_is_listed(usage: Usage, model: str, day: date) -> None:
    """To the last digit, on every day from its launch to the first rate that is written down."""
    cost = price(usage, model=model, lane="flex", at=day)
    assert cost.basis == "estimated"
    assert cost.total is not None
    assert cost.total * 2 == cost.standard


@given(
    usages(),
    st.sampled_from([*FLEX, TUNED, "gpt-4.1", "gpt-6.2-sol", "gpt-6.2-astra"]),
    st.sampled_from(sorted(WINDOWS)),
    st.dates(date(2026, 11, 17), date(2027, 6, 30)),
)
def test_a_window_is_a_share_of_standard(usage: Usage, model: str, lane: str, day: date) -> None:
    """To the last digit, for long prompts and cached ones too."""
    cost = price(usage, model=model, lane=lane, at=day)
    assert cost.basis == "estimated"
    assert cost.standard is not None
    assert cost.standard == price(usage, model=model, lane="background-soonest", at=day).total
    assert cost.total == cost.standard * WINDOWS[lane]


@given(usages(), models, st.sampled_from(LANES), days)
def test_the_whole_is_its_parts(usage: Usage, model: str, lane: str, day: date) -> None:
    """The total is the sum of the parts, the saving what is left of standard; or all is unknown."""
    cost = price(usage, model=model, lane=lane, at=day)
    parts = [cost.input, cost.cached_input, cost.cache_write, cost.output]
    if cost.basis == "unpriced":
        assert {*parts, cost.total, cost.standard, cost.saved, cost.rates} == {None}
        return
    assert cost.total is not None
    assert cost.standard is not None
    assert cost.total == sum(part for part in parts if part is not None)
    assert cost.saved == cost.standard - cost.total
    assert (cost.reason is None) == (cost.basis == "exact")


@given(usages(), models, st.sampled_from(LANES), days)
def test_the_cost_is_tokens_times_rates(usage: Usage, model: str, lane: str, day: date) -> None:
    """Tokens times the rates in the cost, per million, is the cost."""
    cost = price(usage, model=model, lane=lane, at=day)
    if cost.rates is None:
        return
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    assert cost.input == cost.rates.input * plain / 1_000_000
    assert cost.cached_input == cost.rates.cached_input * usage.cached_input_tokens / 1_000_000
    assert cost.cache_write == cost.rates.cache_write * usage.cache_write_tokens / 1_000_000
    assert cost.output == cost.rates.output * usage.output_tokens / 1_000_000


@given(usages(), models, days)
def test_reasoning_is_output(usage: Usage, model: str, day: date) -> None:
    """Reasoning tokens are billed once, as the output they are part of."""
    silent = Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    )
    one = price(usage, model=model, lane="flex", at=day)
    assert one == price(silent, model=model, lane="flex", at=day)


@given(usages(), models, st.integers(1, 6))
def test_no_digit_is_lost(usage: Usage, model: str, precision: int) -> None:
    """Whatever precision the program works with."""
    day = date(2026, 11, 1)
    full = price(usage, model=model, lane="flex", at=day)
    with localcontext() as context:
        context.prec = precision
        short = price(usage, model=model, lane="flex", at=day)
        pair = (short.total, short.saved)
    assert short == full
    assert pair == (full.total, full.saved)
    assert all(isinstance(amount, Decimal) for amount in pair)
