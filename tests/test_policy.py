"""FlexPolicy: where its values come from, which ones it refuses, and how it says so."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import sentinel

import pytest
from pydantic import ValidationError

from flextier import FlexPolicy, PolicyError
from flextier.lanes import NAMES

DEFAULTS: dict[str, Any] = {
    "lanes": ("flex", "standard"),
    "deadline": None,
    "patience": None,
    "flex_timeout": 900.0,
    "standard_timeout": 600.0,
    "standard_reserve": 30.0,
    "max_retries": 2,
    "backoff_initial": 1.0,
    "backoff_max": 60.0,
    "backoff_multiplier": 2.0,
    "stall_factor": 3.0,
    "start_jitter": 0.0,
    "budget": None,
    "lane_support": (),
    "max_response_bytes": 2**26,
    "batch_window": 10.0,
    "batch_poll_interval": 60.0,
    "batch_reserve": 900.0,
    "batch_min_calls": 1,
    "background_window": "2h",
    "background_poll_interval": 300.0,
    "background_timeout": None,
    "flex_background": False,
    "journal": None,
    "journal_namespace": "",
    "journal_duplicates": "each",
    "journal_store_responses": True,
    "journal_ttl": None,
    "gateway": None,
    "gateway_fallback": "error",
}
OTHERS: dict[str, tuple[str, Any]] = {
    "lanes": ("standard", ("standard",)),
    "deadline": ("120", 120.0),
    "patience": ("12.5", 12.5),
    "flex_timeout": ("800", 800.0),
    "standard_timeout": ("500", 500.0),
    "standard_reserve": ("20", 20.0),
    "max_retries": ("5", 5),
    "backoff_initial": ("0.5", 0.5),
    "backoff_max": ("30", 30.0),
    "backoff_multiplier": ("3", 3.0),
    "stall_factor": ("4", 4.0),
    "start_jitter": ("2.5", 2.5),
    "budget": ("12.50", Decimal("12.50")),
    "lane_support": ("gpt-7*=batch+background, mine=", ("gpt-7*=batch+background", "mine=")),
    "max_response_bytes": ("1000", 1000),
    "batch_window": ("0.5", 0.5),
    "batch_poll_interval": ("5", 5.0),
    "batch_reserve": ("60", 60.0),
    "batch_min_calls": ("10", 10),
    "background_window": ("8h", "8h"),
    "background_poll_interval": ("30", 30.0),
    "background_timeout": ("20000", 20_000.0),
    "flex_background": ("true", True),
    "journal": ("nightly.db", "nightly.db"),
    "journal_namespace": ("monday", "monday"),
    "journal_duplicates": ("once", "once"),
    "journal_store_responses": ("false", False),
    "journal_ttl": ("86400", 86_400.0),
    "gateway": ("http://localhost:8484/v1/", "http://localhost:8484"),
    "gateway_fallback": ("local", "local"),
}
"""Each field as the environment writes it, and as it is read."""
FIELDS = sorted(DEFAULTS)
SPANS = [
    "deadline", "patience", "flex_timeout", "standard_timeout", "standard_reserve", "start_jitter",
    "batch_window", "batch_poll_interval", "batch_reserve",
    "background_poll_interval", "background_timeout",
    "journal_ttl",
]  # fmt: skip
BACKOFFS = ["backoff_initial", "backoff_max", "backoff_multiplier"]


def refusal(**values: Any) -> str:
    """The message of the error that these values raise."""
    with pytest.raises(PolicyError) as caught:
        FlexPolicy(**values)
    return str(caught.value)


# --- where values come from -------------------------------------------------------------------


def test_the_fields_and_their_defaults() -> None:
    """A policy that was given nothing has exactly the documented fields and defaults."""
    assert FlexPolicy().model_dump() == DEFAULTS
    assert set(OTHERS) == set(DEFAULTS)


@pytest.mark.parametrize("field", FIELDS)
def test_environment_over_default(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has its variable, and nothing else changes."""
    text, value = OTHERS[field]
    monkeypatch.setenv(f"FLEXTIER_{field.upper()}", text)
    assert FlexPolicy().model_dump() == {**DEFAULTS, field: value}


@pytest.mark.parametrize("field", FIELDS)
def test_keyword_over_environment(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code says outweighs what the environment says."""
    text, value = OTHERS[field]
    monkeypatch.setenv(f"FLEXTIER_{field.upper()}", text)
    assert FlexPolicy(**{field: DEFAULTS[field]}).model_dump() == DEFAULTS
    assert getattr(FlexPolicy(**{field: value}), field) == value


def test_a_keyword_hides_a_variable_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not used is not judged."""
    monkeypatch.setenv("FLEXTIER_PATIENCE", "soon")
    assert FlexPolicy(patience=7).patience == 7.0


@pytest.mark.parametrize("field", FIELDS)
def test_an_empty_variable_says_nothing(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``FLEXTIER_X=`` is how shells unset."""
    monkeypatch.setenv(f"FLEXTIER_{field.upper()}", "")
    assert FlexPolicy() == FlexPolicy(**DEFAULTS)


@pytest.mark.parametrize(
    ("text", "lanes"),
    [
        ("flex", ("flex",)),
        ("flex,standard", ("flex", "standard")),
        (" standard , flex ", ("standard", "flex")),
        ("flex,,standard,", ("flex", "standard")),
    ],
)
def test_lanes_with_commas(
    text: str, lanes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ladder in one string, in the environment or in code."""
    assert FlexPolicy(lanes=text).lanes == lanes
    monkeypatch.setenv("FLEXTIER_LANES", text)
    assert FlexPolicy().lanes == lanes


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy does not change when the environment does, nor do the policies made from it."""
    monkeypatch.setenv("FLEXTIER_PATIENCE", "11")
    policy = FlexPolicy()
    monkeypatch.setenv("FLEXTIER_PATIENCE", "22")
    monkeypatch.setenv("FLEXTIER_MAX_RETRIES", "9")
    assert policy.patience == 11.0
    replaced = policy.replace(deadline=99)
    assert (replaced.patience, replaced.max_retries) == (11.0, 2)
    monkeypatch.setenv("FLEXTIER_MAX_RETRIES", "many")
    assert policy.replace(deadline=98).max_retries == 2


# --- a value object ---------------------------------------------------------------------------


def test_policies_are_frozen() -> None:
    """No field can be set, and none added."""
    policy = FlexPolicy()
    with pytest.raises(ValidationError, match="frozen"):
        policy.patience = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        policy.other = 1.0  # type: ignore[attr-defined]
    assert policy == FlexPolicy()


def test_policies_compare_by_value() -> None:
    """Equal values are equal policies, wherever the values came from."""
    assert FlexPolicy(flex_timeout=900) == FlexPolicy()
    assert hash(FlexPolicy(flex_timeout=900)) == hash(FlexPolicy())
    assert FlexPolicy(lanes=["flex"]) == FlexPolicy(lanes=("flex",))
    assert FlexPolicy(patience=299) != FlexPolicy()
    assert len({FlexPolicy(), FlexPolicy(flex_timeout=900), FlexPolicy(patience=1)}) == 2


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_policies_travel(duplicate: Any) -> None:
    """A copy, in this process or another, is equal and knows what was explicit."""
    policy = FlexPolicy(lanes=["flex"], deadline=5)
    copied = duplicate(policy)
    assert (copied, copied.explicit) == (policy, frozenset({"lanes", "deadline"}))


def test_repr_is_what_one_would_type() -> None:
    """The repr is the call that makes an equal policy."""
    policy = FlexPolicy(deadline=120, lanes="flex")
    assert repr(policy).startswith("FlexPolicy(lanes=('flex',), deadline=120.0, patience=None, ")
    assert eval(repr(policy)) == policy


def test_of_takes_a_policy_or_its_fields() -> None:
    """A dict stands for a policy; a policy stands for itself."""
    policy = FlexPolicy(deadline=99)
    assert FlexPolicy.of(policy) is policy
    assert FlexPolicy.of({"deadline": 99}) == policy
    with pytest.raises(PolicyError, match="patience"):
        FlexPolicy.of({"patience": -1})
    for wrong in ("flex", ["flex"], 3):
        with pytest.raises(PolicyError, match=r"must be a FlexPolicy or a dict of its fields"):
            FlexPolicy.of(wrong)  # type: ignore[arg-type]


# --- explicit ---------------------------------------------------------------------------------


def test_explicit_is_what_code_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither defaults nor the environment are explicit; a default given in code is."""
    monkeypatch.setenv("FLEXTIER_MAX_RETRIES", "5")
    assert FlexPolicy().explicit == frozenset()
    assert FlexPolicy(patience=300, deadline=None).explicit == {"patience", "deadline"}
    assert FlexPolicy.of({"max_retries": 1}).explicit == {"max_retries"}


def test_replace_adds_to_what_is_explicit() -> None:
    """What was explicit stays so, and what is replaced becomes so."""
    policy = FlexPolicy(patience=10)
    assert policy.replace(max_retries=1).explicit == {"patience", "max_retries"}
    assert policy.explicit == {"patience"}
    # An equal policy with another history is not mixed up with this one.
    assert FlexPolicy(patience=10, deadline=None).replace(max_retries=1).explicit == {
        "patience",
        "deadline",
        "max_retries",
    }


# --- replace and check ------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS)
def test_replace_changes_one_field(field: str) -> None:
    """The rest is kept, and the original too."""
    policy = FlexPolicy(deadline=200, patience=40)
    value = OTHERS[field][1]
    assert policy.replace(**{field: value}).model_dump() == {**policy.model_dump(), field: value}
    assert policy == FlexPolicy(deadline=200, patience=40)


def test_replace_nothing() -> None:
    """Without changes it is the same policy."""
    policy = FlexPolicy()
    assert policy.replace() is policy


def test_replace_takes_lists() -> None:
    """A ladder may be a list there, too."""
    assert FlexPolicy().replace(lanes=["standard"], patience=5).lanes == ("standard",)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"patience": -1}, r"FlexPolicy\(patience=-1\).*FLEXTIER_PATIENCE"),
        ({"lanes": []}, r"FlexPolicy\(lanes=\(\)\).*no lane is named.*FLEXTIER_LANES"),
        ({"lanes": ["flex", "turbo"]}, "unknown lane 'turbo'"),
        ({"patiense": 1}, "no field 'patiense'"),
        ({"backoff_max": 0.5}, "backoff_initial"),
        ({"lanes": {"flex": 1}}, "lanes"),
        ({"deadline": {}}, "deadline"),
    ],
)
def test_replace_validates(changes: dict[str, Any], match: str) -> None:
    """A policy cannot be replaced by one that could not be made."""
    with pytest.raises(PolicyError, match=match):
        FlexPolicy().replace(**changes)


@pytest.mark.parametrize("field", FIELDS)
def test_check_accepts_what_is_right_by_itself(field: str) -> None:
    """Changes for a policy not yet known are not held against the defaults."""
    FlexPolicy.check({field: OTHERS[field][1]})
    FlexPolicy.check({"deadline": 1})
    FlexPolicy.check({"backoff_initial": 500})
    FlexPolicy.check({"backoff_max": 0.01})
    FlexPolicy.check({"standard_reserve": 1e6})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"patience": "soon"}, r"FlexPolicy\(patience='soon'\).*FLEXTIER_PATIENCE"),
        ({"patiense": 1}, "no field 'patiense'"),
        ({"lanes": ("turbo",)}, "unknown lane 'turbo'"),
        ({"backoff_initial": 3, "backoff_max": 2}, "backoff_max"),
    ],
)
def test_check_refuses_what_is_wrong_by_itself(changes: dict[str, Any], match: str) -> None:
    """Names, values, and values that contradict each other."""
    with pytest.raises(PolicyError, match=match):
        FlexPolicy.check(changes)


def test_check_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has no say in whether changes are right."""
    monkeypatch.setenv("FLEXTIER_PATIENCE", "soon")
    FlexPolicy.check({"deadline": 10})
    with pytest.raises(PolicyError, match="deadline"):
        FlexPolicy.check({"deadline": -10})


# --- what is refused --------------------------------------------------------------------------

NEVER = ["soon", float("nan"), float("inf"), float("-inf"), -1, [], sentinel.number]


@pytest.mark.parametrize("value", NEVER, ids=repr)
@pytest.mark.parametrize("field", [*SPANS, *BACKOFFS, "max_retries"])
def test_numbers_that_are_none(field: str, value: Any) -> None:
    """No number of seconds or tries: the message names the field, the value and the variable."""
    message = refusal(**{field: value})
    assert message.startswith(f"FlexPolicy({field}={value!r}): ")
    assert f"FLEXTIER_{field.upper()}" in message


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "-1", "1 minute"])
@pytest.mark.parametrize("field", [*SPANS, *BACKOFFS, "max_retries"])
def test_numbers_that_are_none_in_the_environment(
    field: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message leads with the variable, and says which field it sets."""
    variable = f"FLEXTIER_{field.upper()}"
    monkeypatch.setenv(variable, text)
    message = refusal()
    assert message.startswith(f"{variable}={text!r} (FlexPolicy.{field}): ")


@pytest.mark.parametrize("field", ["deadline", "flex_timeout", "standard_timeout"])
def test_a_limit_of_no_time(field: str) -> None:
    """Nor as text."""
    assert f"FlexPolicy({field}='0s')" in refusal(**{field: "0s"})


@pytest.mark.parametrize("field", [*SPANS, "backoff_initial", "backoff_max"])
def test_durations_as_text(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In code, in the environment, in ``replace`` and in ``check``."""
    others = {"backoff_max": "2d"} if field == "backoff_initial" else {}
    assert getattr(FlexPolicy(**{field: "1h30m", **others}), field) == 5400
    assert getattr(FlexPolicy(**{field: timedelta(hours=1.5), **others}), field) == 5400
    assert getattr(FlexPolicy().replace(**{field: "1h30m", **others}), field) == 5400
    FlexPolicy.check({field: "1h30m"})
    monkeypatch.setenv(f"FLEXTIER_{field.upper()}", "1h30m")
    assert getattr(FlexPolicy(**others), field) == 5400


@pytest.mark.parametrize("field", SPANS)
def test_a_time_of_day_is_no_duration(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the argument that takes it."""
    says = "times of day go into until (--until)"
    assert f"FlexPolicy({field}='06:00'): " in (message := refusal(**{field: "06:00"}))
    assert says in message
    monkeypatch.setenv(f"FLEXTIER_{field.upper()}", "06:00")
    assert f"FLEXTIER_{field.upper()}='06:00'" in (message := refusal())
    assert says in message


@pytest.mark.parametrize("field", ["deadline", "flex_timeout", "standard_timeout"])
def test_a_limit_of_zero_is_none(field: str) -> None:
    """A limit that nothing can keep is a mistake."""
    assert f"FlexPolicy({field}=0)" in refusal(**{field: 0})


@pytest.mark.parametrize(
    "field", ["patience", "standard_reserve", "max_retries", "backoff_initial"]
)
def test_zero_switches_off(field: str) -> None:
    """Where zero has a meaning, it is allowed."""
    assert getattr(FlexPolicy(**{field: 0}), field) == 0


def test_backoff_may_stand_still_but_not_shrink() -> None:
    """A multiplier of 1 is a constant span; below, waits would shrink."""
    assert FlexPolicy(backoff_multiplier=1).backoff_multiplier == 1.0
    assert "FlexPolicy(backoff_multiplier=0.9)" in refusal(backoff_multiplier=0.9)
    assert FlexPolicy(backoff_initial=0, backoff_max=0).backoff(9) == 0.0


@pytest.mark.parametrize("value", [1.5, "2.5", None])
def test_tries_are_whole(value: Any) -> None:
    """Half a try is none."""
    assert f"FlexPolicy(max_retries={value!r})" in refusal(max_retries=value)


@pytest.mark.parametrize(
    ("lanes", "says"),
    [
        ((), "no lane is named"),
        ("", "no lane is named"),
        (" , ", "no lane is named"),
        (("turbo",), "unknown lane 'turbo'"),
        (("flex", "turbo"), "unknown lane 'turbo'"),
        (("Flex",), "unknown lane 'Flex'"),
        (("flex", "flex"), "twice"),
        (("flex", "standard", "flex"), "twice"),
        (("auto", "standard"), "alone"),
    ],
)
def test_ladders_that_are_none(lanes: Any, says: str) -> None:
    """A ladder is a list of known lanes, each once; the message lists what is known."""
    message = refusal(lanes=lanes)
    assert message.startswith(f"FlexPolicy(lanes={lanes!r}): ")
    assert says in message
    assert "FLEXTIER_LANES" in message
    assert says in ("twice", "alone") or ", ".join(NAMES) in message


@pytest.mark.parametrize(
    ("text", "says"), [(",", "no lane is named"), ("turbo", "turbo"), ("flex,flex", "twice")]
)
def test_ladders_that_are_none_in_the_environment(
    text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same from the environment, led by the variable."""
    monkeypatch.setenv("FLEXTIER_LANES", text)
    message = refusal()
    assert message.startswith(f"FLEXTIER_LANES={text!r} (FlexPolicy.lanes): ")
    assert says in message


def test_a_window_that_stands_twice() -> None:
    """The lane of ``background_window`` and the same lane by its whole name are one."""
    assert "background is background-8h" in refusal(
        lanes=("background", "background-8h"), background_window="8h"
    )
    assert FlexPolicy(lanes=("background-8h", "background")).background_window == "2h"


def test_offers() -> None:
    """They can be a dict, a list or a text, and are read at once."""
    entries = ("gpt-7*=batch+background", "mine=flex")
    offers = {"gpt-7*": ("batch", "background"), "mine": "flex"}
    assert FlexPolicy(lane_support=offers).lane_support == entries
    assert FlexPolicy(lane_support=list(entries)).lane_support == entries
    assert FlexPolicy(lane_support=", ".join(entries)).lane_support == entries
    assert hash(FlexPolicy(lane_support=offers)) == hash(FlexPolicy(lane_support=entries))


@pytest.mark.parametrize("offers", ["gpt-7*", "=flex", "gpt-7*=turbo", {"gpt-7*": ("standard",)}])
def test_offers_that_are_none(offers: Any) -> None:
    """An error states the right form."""
    assert (
        "must be a model or shell pattern and its lanes, such as 'gpt-7*=batch+background'"
        in refusal(lane_support=offers)
    )


@pytest.mark.parametrize("lanes", [3, ["flex", 3], None])
def test_a_ladder_of_other_things(lanes: Any) -> None:
    """Lanes are names."""
    assert f"FlexPolicy(lanes={lanes!r})" in refusal(lanes=lanes)


def test_unknown_fields() -> None:
    """A misspelt name is refused, with the right one; for one that is like no other, with all."""
    assert "no field 'patiense': did you mean 'patience'?" in refusal(patiense=3)
    assert all(field in refusal(zzz=3) for field in FIELDS)


def test_every_mistake_is_named() -> None:
    """One error for all that is wrong."""
    message = refusal(patience=-1, patiense=3, max_retries="x")
    assert "patience=-1" in message
    assert "patiense" in message
    assert "max_retries='x'" in message


def test_policy_errors_are_value_errors() -> None:
    """Code that catches ValueError catches it, and no validation library shines through."""
    with pytest.raises(ValueError, match="patience") as caught:
        FlexPolicy(patience=-1)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- values that contradict each other --------------------------------------------------------


@pytest.mark.parametrize("lanes", [("flex", "standard"), ("flex",), ("batch", "standard")])
def test_a_deadline_below_the_reserve(lanes: tuple[str, ...]) -> None:
    """It is a policy: its calls go to the last lane at once."""
    assert FlexPolicy(deadline=1, lanes=lanes).deadline == 1.0


def test_backoff_that_ends_before_it_begins() -> None:
    """The longest wait is not below the first; the message names both knobs."""
    message = refusal(backoff_initial=5, backoff_max=4)
    assert "backoff_max (4 s)" in message
    assert "backoff_initial (5 s)" in message
    assert "FLEXTIER_BACKOFF_MAX" in message
    assert "FLEXTIER_BACKOFF_INITIAL" in message
    assert FlexPolicy(backoff_initial=4, backoff_max=4).backoff(1) == 4.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("offers", "lane_support"),
        ("batch_least", "batch_min_calls"),
        ("batch_poll", "batch_poll_interval"),
        ("background_poll", "background_poll_interval"),
        ("journal_salt", "journal_namespace"),
        ("journal_repeats", "journal_duplicates"),
        ("journal_answers", "journal_store_responses"),
        ("journal_keep", "journal_ttl"),
    ],
)
def test_an_old_name_says_the_new_one(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renamed field or variable is an error that names its replacement."""
    assert refusal(**{old: 1}) == f"FlexPolicy.{old} was renamed: use {new}"
    with pytest.raises(PolicyError, match=f"use {new}"):
        FlexPolicy().replace(**{old: 1})
    monkeypatch.setenv(f"FLEXTIER_{old.upper()}", "1")
    message = f"FLEXTIER_{old.upper()} was renamed: set FLEXTIER_{new.upper()} instead"
    assert refusal() == message


# --- arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lane", "seconds"), [("flex", 5.0), ("standard", 6.0), ("priority", 6.0), ("anything", 6.0)]
)
def test_the_timeout_of_an_attempt(lane: str, seconds: float) -> None:
    """Flex has its own; every other lane shares one."""
    assert FlexPolicy(flex_timeout=5, standard_timeout=6).attempt_timeout(lane) == seconds


@pytest.mark.parametrize(
    ("tries", "span"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (5_000, 60.0)]
)
def test_backoff_doubles_up_to_its_longest(tries: int, span: float) -> None:
    """The upper limit of the wait after some failed attempts, by default."""
    assert FlexPolicy().backoff(tries) == span


def test_backoff_takes_its_knobs() -> None:
    """Start, factor and end are the policy's."""
    policy = FlexPolicy(backoff_initial=2, backoff_multiplier=3, backoff_max=20)
    assert [policy.backoff(tries) for tries in (1, 2, 3, 4)] == [2.0, 6.0, 18.0, 20.0]


def test_no_backoff_stays_none() -> None:
    """Zero times any factor is zero, however many tries there were."""
    assert FlexPolicy(backoff_initial=0).backoff(5_000) == 0.0


@pytest.mark.parametrize("factor", [0.5, 0.999, 1e-9])
def test_a_stall_is_longer_than_an_answer(factor: float) -> None:
    """A factor between zero and one is refused; zero disables it."""
    message = refusal(stall_factor=factor)
    assert "stall_factor" in message
    assert "FLEXTIER_STALL_FACTOR" in message
    assert "must be 0 (disabled) or at least 1" in message
    assert FlexPolicy(stall_factor=0).stall_factor == 0
    assert FlexPolicy(stall_factor=1).stall_factor == 1
