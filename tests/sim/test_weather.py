"""The weather decides without I/O: tables and laws."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.sim import Fault, Weather
from flextier.sim.base.api_errors import ErrorReply
from flextier.sim.base.flex_bucket import FlexBuckets, has_room, room_in
from flextier.sim.behavior.faults import Serve, Stall
from flextier.sim.behavior.weather import Moment, never_on_flex

seconds = st.floats(0, 10_000, allow_nan=False)
probabilities = st.floats(0, 1, allow_nan=False)
lanes = st.sampled_from(["flex", "standard", "priority"])


def pairs_in_order(numbers: list[float]) -> tuple[tuple[float, float], ...]:
    """Windows that do not overlap, from any numbers."""
    bounds = sorted(set(numbers))
    return tuple(zip(bounds[::2], bounds[1::2], strict=False))


outages = st.lists(seconds, max_size=8).map(pairs_in_order)
steps = st.dictionaries(seconds, st.integers(0, 50), max_size=5).map(
    lambda table: tuple(sorted(table.items()))
)
latencies = st.none() | seconds | st.tuples(seconds, seconds).map(lambda pair: tuple(sorted(pair)))


def spells(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    """Windows with a number each."""
    return outages.flatmap(
        lambda windows: st.tuples(*(numbers.map(lambda n, w=w: (*w, n)) for w in windows))
    )


plain_weathers = st.builds(
    Weather,
    outages=outages,
    slots=st.none() | st.integers(0, 50),
    steps=steps,
    refuse=probabilities,
    stall=probabilities,
    stall_seconds=st.none() | seconds,
    stall_windows=spells(probabilities),
    slow=st.floats(0, 100),
    slow_windows=spells(st.floats(0, 100)),
    bucket=st.none() | st.tuples(st.floats(0.1, 100), st.floats(1, 100)),
    rpm=st.none() | st.integers(1, 500),
    rpm_window=st.sampled_from([1.0, 10, 60]),
    retry_after=st.none() | seconds | st.just("soon"),
    unsupported_models=st.just(()) | st.just(("o1*",)),
    standard_latency=latencies,
    flex_latency=latencies,
    refusal_latency=latencies,
)
weathers = plain_weathers | st.builds(
    lambda around, own: replace(around, models=(("o3*", own), ("gpt-?", around))),
    plain_weathers,
    plain_weathers,
)


def decide(weather: Weather, lane: str = "flex", model: str = "o3", **facts: Any) -> Fault:
    """What happens to a request at a moment."""
    recent = facts.pop("recent", ())
    flex_used = facts.pop("flex_used", 0.0)
    moment = Moment(facts.pop("now", 0.0), facts.pop("flex_in_use", 0), recent, flex_used=flex_used)
    return weather.decide(lane, model, moment, Random(facts.pop("seed", 0)), **facts)


def kind(fault: Fault) -> str:
    """A word for what a fault does."""
    action = fault.action
    return action.outcome if isinstance(action, ErrorReply) else type(action).__name__.lower()


def test_default_weather_serves_everything() -> None:
    """Without settings flex is always open."""
    assert decide(Weather(), flex_in_use=1000) == Fault(Serve())


@pytest.mark.parametrize(
    ("now", "expected"),
    [(9.9, "serve"), (10, "refused"), (39.9, "refused"), (40, "serve"), (60, "refused")],
)
def test_outages_refuse_from_start_to_end(now: float, expected: str) -> None:
    """Flex refuses from a window's start on, and is open again at its end."""
    weather = Weather(outages=((10, 40), (60, 61)))
    assert kind(decide(weather, now=now)) == expected
    assert kind(decide(weather, "standard", now=now)) == "serve"


@pytest.mark.parametrize(("in_use", "expected"), [(0, "serve"), (4, "serve"), (5, "refused")])
def test_slots_limit_what_is_served_at_once(in_use: int, expected: str) -> None:
    """The request after the last slot is refused."""
    assert kind(decide(Weather(slots=5), flex_in_use=in_use)) == expected


@pytest.mark.parametrize(
    ("used", "expected"), [(0, "serve"), (9, "serve"), (9.01, "refused"), (10, "refused")]
)
def test_a_bucket_limits_what_is_admitted_at_once(used: float, expected: str) -> None:
    """The request after the last one of the burst is refused, on flex only."""
    weather = Weather(bucket=(2, 10))
    assert kind(decide(weather, flex_used=used, flex_in_use=1000)) == expected
    assert kind(decide(weather, "standard", flex_used=used)) == "serve"


def test_a_bucket_fills_evenly() -> None:
    """Ten are used at once; two come back each second, and never more than ten are there."""
    buckets, bucket = FlexBuckets(), (2.0, 10.0)
    for _ in range(10):
        assert has_room(bucket, buckets.used("", bucket, 100.0))
        buckets.take("", bucket, 100.0)
    assert buckets.used("", bucket, 100.0) == 10
    assert room_in(bucket, 10.0) == 0.5
    assert room_in(bucket, 9.0) == room_in(None, 10.0) == 0
    assert buckets.used("", bucket, 103.0) == 4
    assert buckets.used("", bucket, 1000.0) == buckets.used("o3", bucket, 100.0) == 0


@pytest.mark.parametrize("bucket", [(0, 10), (2, 0.5), (2,), 2, ("2", 10)])
def test_a_bucket_that_admits_nothing_is_an_error(bucket: Any) -> None:
    """The field is named."""
    with pytest.raises(ValueError, match="bucket must be"):
        Weather(bucket=bucket)


@pytest.mark.parametrize(
    ("now", "slots"), [(0, 2), (9.9, 2), (10, 0), (19.9, 0), (20, 7), (1000, 7)]
)
def test_steps_replace_slots(now: float, slots: int) -> None:
    """Each step holds until the next; before the first the plain number does."""
    assert Weather(slots=2, steps=((10, 0), (20, 7))).slots_at(now) == slots


def test_refusals_carry_the_retry_after() -> None:
    """The weather's retry_after is the refusal's header."""
    fault = decide(Weather(slots=0, retry_after=3))
    assert fault == Fault.refuse(retry_after=3)


def test_stall_lasts_as_long_as_the_weather_says() -> None:
    """A random stall has the weather's length."""
    assert decide(Weather(stall=1.0, stall_seconds=4.0)).action == Stall(4.0)


@pytest.mark.parametrize(("now", "expected"), [(9, "serve"), (10, "stall"), (20, "serve")])
def test_stall_windows_have_a_probability_of_their_own(now: float, expected: str) -> None:
    """Inside a window its share stalls, outside of all the weather's."""
    assert kind(decide(Weather(stall_windows=((10, 20, 1.0),)), now=now)) == expected
    never = Weather(stall=1.0, stall_windows=((10, 20, 0.0),))
    assert kind(decide(never, now=now)) == ("serve" if expected == "stall" else "stall")


@pytest.mark.parametrize(("now", "factor"), [(9, 2), (10, 8), (19, 8), (20, 2), (30, 1), (40, 2)])
def test_slow_windows_multiply_what_begins_in_them(now: float, factor: float) -> None:
    """On top of the weather's slowness, and on flex only."""
    weather = Weather(slow=2, slow_windows=((10, 20, 4), (30, 40, 0.5)))
    assert weather.slowness(now) == factor
    assert weather.seconds("flex", 3, Random(0), now=now) == 3 * factor
    assert weather.seconds("standard", 3, Random(0), now=now) == 3
    assert weather.changes == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("recent", "wait"),
    [
        ((), None),
        ((0, 10), None),
        ((0, 10, 20), 40),  # sent at 30 s it counts itself: two have to be a minute ago, at 70 s
        ((0, 10, 20, 25), 50),
    ],
)
def test_rate_limits_hold_on_every_lane(recent: tuple[float, ...], wait: float | None) -> None:
    """The fourth request within a minute is limited, with the time until there is room."""
    for lane in ("flex", "standard", "priority"):
        fault = decide(Weather(rpm=3), lane, now=30, recent=recent)
        if wait is None:
            assert kind(fault) == "serve"
            continue
        assert isinstance(fault.action, ErrorReply)
        assert fault.action.outcome == "rate_limited"
        headers = dict(fault.action.headers)
        assert headers["retry-after"] == f"{wait}"
        assert headers["retry-after-ms"] == f"{wait}000"
        assert headers["x-ratelimit-reset-requests"] == f"{wait}s"
        assert headers["x-ratelimit-limit-requests"] == "3"


def test_a_rate_limit_may_count_seconds() -> None:
    """180 a minute are three in any second: those of the second before do not count."""
    weather = Weather(rpm=180, rpm_window=1)
    assert kind(decide(weather, "flex", now=30, recent=(28, 28.5, 29, 29.5, 29.9))) == "serve"
    fault = decide(weather, "flex", now=30, recent=(28, 29.5, 29.75, 29.9))
    assert isinstance(fault.action, ErrorReply)
    assert dict(fault.action.headers)["retry-after-ms"] == "750"  # it counts itself


def test_models_may_have_weather_of_their_own() -> None:
    """The first pattern that fits counts; all else goes by the weather around it."""
    shut, slow = Weather(slots=0), Weather(slow=3, refusal_latency=2)
    weather = Weather(models=(("o3", shut), ("o*", slow)))
    assert weather.of("o3") is shut
    assert weather.of("o4-mini") is slow
    assert weather.of("gpt-5") is weather
    assert [weather.pool(model) for model in ("o3", "o4-mini", "gpt-5")] == ["o3", "o*", ""]
    assert kind(decide(weather, model="o3")) == "refused"
    assert kind(decide(weather, model="o4-mini")) == "serve"
    assert weather.seconds("flex", 2, Random(0), model="o4-mini") == 6
    assert weather.refusal_seconds(1, Random(0), model="o4-mini") == 2
    assert weather.refusal_seconds(1, Random(0), model="gpt-5") == 1


def test_a_models_weather_inherits_in_json() -> None:
    """What a model's object leaves out is as around it; its own outages replace random ones."""
    weather = Weather.from_dict(
        {"slots": 5, "rpm": 9, "models": {"o3": {"slots": 1}, "o4*": {"slow": 2}}}
    )
    assert weather.of("o3") == Weather(slots=1, rpm=9)
    assert weather.of("o4-mini") == Weather(slots=5, rpm=9, slow=2)
    random = {"seed": 1, "mean_open": 60, "mean_shut": 5}
    weather = Weather.from_dict(
        {"random": random, "models": {"o3": {"outages": [[1, 2]]}, "x": {}}}
    )
    assert weather.of("o3").outages == ((1, 2),)
    assert weather.of("x").outages == weather.outages != ()


def test_random_refusals_are_about_as_many_as_asked_for() -> None:
    """Of 2,000 requests at 0.3 about 600 are refused."""
    weather, chance = Weather(refuse=0.3), Random(1)
    decisions = [weather.decide("flex", "o3", Moment(0), chance) for _ in range(2000)]
    assert 500 < sum(kind(fault) == "refused" for fault in decisions) < 700


@pytest.mark.parametrize(
    ("model", "never"),
    [
        ("o3", False),
        ("gpt-5-mini", False),
        ("gpt-6", False),
        ("gpt-6.1-sol", False),
        ("gpt-6.2", True),
        ("gpt-6.2-sol", True),
        ("gpt-6.10", True),
        ("gpt-7-mini", True),
        ("gpt-4.1", True),
        ("gpt-4.1-mini", True),
        ("gpt-4o", True),
        ("my-deployment", False),
    ],
)
def test_models_that_never_get_flex(model: str, never: bool) -> None:
    """By the price list and the flex guide, whatever the weather; unknown names do."""
    assert never_on_flex(model) is never
    assert kind(decide(Weather(), model=model)) == ("unsupported" if never else "serve")
    assert kind(decide(Weather(), "standard", model)) == "serve"


def test_more_models_can_be_unsupported() -> None:
    """A pattern of models answers 400 to flex, and only to flex."""
    weather = Weather(unsupported_models=("o3*",))
    assert kind(decide(weather, model="o3-pro")) == "unsupported"
    assert kind(decide(weather, model="o4-mini")) == "serve"


@pytest.mark.parametrize(
    ("stream", "summary", "expected"),
    [
        (True, False, Fault.unverified("stream")),
        (False, True, Fault.unverified("reasoning.summary")),
        (False, False, Fault.serve()),
    ],
)
def test_unverified_models_refuse_streams_and_summaries(
    stream: bool, summary: bool, expected: Fault
) -> None:
    """An unverified organisation gets no streams and no summaries, on any tier."""
    weather = Weather(unverified_models=("o3",))
    for lane in ("flex", "standard"):
        assert decide(weather, lane, stream=stream, summary=summary) == expected


@given(weather=weathers, now=seconds, in_use=st.integers(0, 100), seed=st.integers(0, 99))
def test_other_lanes_never_feel_flex_weather(
    weather: Weather, now: float, in_use: int, seed: int
) -> None:
    """Whatever the flex weather, standard and priority serve."""
    for lane in ("standard", "priority"):
        assert kind(decide(weather, lane, now=now, flex_in_use=in_use, seed=seed)) == "serve"


@given(weather=weathers, now=seconds, in_use=st.integers(0, 100), seed=st.integers(0, 99))
def test_flex_serves_only_when_it_is_open_and_has_a_slot(
    weather: Weather, now: float, in_use: int, seed: int
) -> None:
    """Every request that is served came outside of outages and found a free slot."""
    if kind(decide(weather, now=now, flex_in_use=in_use, seed=seed)) != "refused":
        weather = weather.of("o3")
        assert not any(start <= now < end for start, end in weather.outages)
        slots = weather.slots_at(now)
        assert slots is None or in_use < slots


@given(weather=weathers, now=seconds, seed=st.integers(0, 99))
def test_same_seed_same_decision(weather: Weather, now: float, seed: int) -> None:
    """A decision depends on its arguments and nothing else."""
    assert decide(weather, now=now, seed=seed) == decide(weather, now=now, seed=seed)


@given(weather=weathers, lane=lanes, default=seconds, now=seconds, seed=st.integers(0, 99))
def test_latency_is_within_its_range(
    weather: Weather, lane: str, default: float, now: float, seed: int
) -> None:
    """An answer takes as long as the lane's latency says, times the slowness of flex."""
    own = weather.flex_latency if lane == "flex" else weather.standard_latency
    low, high = own if isinstance(own, tuple) else (own, own)
    low, high = (default, default) if own is None else (low, high)
    factor = weather.slowness(now) if lane == "flex" else 1
    drawn = weather.seconds(lane, default, Random(seed), now=now)
    assert low * factor <= drawn * (1 + 1e-9)
    assert drawn <= high * factor * (1 + 1e-9)


@given(weather=weathers)
def test_json_has_every_field(weather: Weather) -> None:
    """A weather written as JSON and read again is the same weather."""
    assert Weather.from_dict(json.loads(json.dumps(asdict(weather)))) == weather


@given(seed=st.integers(), mean_open=st.floats(1, 500), mean_shut=st.floats(1, 500))
def test_random_outages_are_the_same_for_the_same_seed(
    seed: int, mean_open: float, mean_shut: float
) -> None:
    """The seed chooses the outages, and all of them begin within the horizon."""
    one = Weather.random(seed, mean_open, mean_shut, horizon=1000, refuse=0.5)
    assert one == Weather.random(seed, mean_open, mean_shut, horizon=1000, refuse=0.5)
    assert all(start < 1000 for start, _ in one.outages)
    assert one.refuse == 0.5


def test_random_outages_are_shut_about_as_long_as_asked_for() -> None:
    """Over a long time the lane is shut for mean_shut of every mean_open + mean_shut."""
    weather = Weather.random(7, mean_open=30, mean_shut=10, horizon=100_000)
    shut = sum(end - start for start, end in weather.outages)
    assert 0.22 < shut / weather.outages[-1][1] < 0.28


@pytest.mark.parametrize(
    "fields",
    [
        {"refuse": 1.5},
        {"stall": -0.1},
        {"refuse": float("nan")},
        {"refuse": "often"},
        {"slots": -1},
        {"slow": float("inf")},
        {"stall_seconds": True},
        {"outages": ((10, 5),)},
        {"outages": ((10, 20), (15, 30))},
        {"outages": (10, 20)},
        {"steps": ((10, 1), (5, 2))},
        {"steps": ((10, 1.5),)},
        {"steps": ((10, -1),)},
        {"standard_latency": (2, 1)},
        {"flex_latency": -1},
        {"retry_after": "soon\n"},
        {"refusal_latency": "soon"},
        {"stall_windows": ((10, 20),)},
        {"stall_windows": ((10, 20, 1.5),)},
        {"stall_windows": [(10, 20, 1)]},
        {"slow_windows": ((20, 10, 2),)},
        {"slow_windows": ((10, 20, 2), (15, 30, 2))},
        {"slow_windows": ((10, 20, -1),)},
        {"slow_windows": ((10, 20, float("inf")),)},
        {"rpm": 0},
        {"rpm": 1.5},
        {"rpm_window": 0},
        {"rpm_window": 61},
        {"rpm": True},
        {"models": {"o3": Weather()}},
        {"models": (("o3", {"slots": 1}),)},
        {"models": (("o3", Weather(models=(("o3", Weather()),))),)},
        {"unsupported_models": "o3"},
        {"unverified_models": (3,)},
    ],
    ids=str,
)
def test_bad_settings_name_their_field(fields: dict[str, Any]) -> None:
    """A setting out of its range is an error that begins with its name."""
    (name,) = fields
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Weather(**fields)


@pytest.mark.parametrize("name", ["mean_open", "mean_shut", "horizon"])
def test_bad_means_name_their_argument(name: str) -> None:
    """A mean of nothing is an error that names it."""
    arguments = {"mean_open": 1.0, "mean_shut": 1.0, "horizon": 1.0, name: 0.0}
    with pytest.raises(ValueError, match=f"^{name} must be above 0"):
        Weather.random(1, **arguments)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([1], "must be an object"),
        ({"rain": 1}, "unknown fields: rain"),
        ({"refuse": 2}, "refuse must be"),
        ({"models": 3}, "models must be an object of models, not 3"),
        ({"models": {"o3": 3}}, "models must give o3 an object, not 3"),
        ({"models": {"o3": {"rain": 1}}}, "models: o3: weather has unknown fields: rain"),
        ({"random": {"seed": 1}}, "wrong kind"),
        ({"random": {"seed": 1, "mean_open": 0, "mean_shut": 1}}, "mean_open must be"),
    ],
    ids=str,
)
def test_bad_json_is_explained(data: Any, problem: str, tmp_path: Path) -> None:
    """A weather file with a mistake in it is an error that names the mistake."""
    path = tmp_path / "weather.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=problem):
        Weather.from_json(path)


def test_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    """A file that is not JSON is an error with its path."""
    path = tmp_path / "weather.json"
    path.write_text("refuse=0.3")
    with pytest.raises(ValueError, match=r"weather\.json is not JSON"):
        Weather.from_json(path)


def test_json_file_with_random_outages(tmp_path: Path) -> None:
    """A file may ask for random outages next to other fields."""
    path = tmp_path / "weather.json"
    path.write_text(json.dumps({"random": {"seed": 3, "mean_open": 60, "mean_shut": 5}, "slow": 2}))
    assert Weather.from_json(path) == replace(Weather.random(3, 60, 5), slow=2)
