"""What a background response may be asked for, what is a 400, and what follow-ups read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flextier.sim import BackgroundOutcome, BackgroundWeather, Simulator, Weather
from flextier.sim.behavior.background_behavior import has_windows
from flextier.sim.stores.responses import MOST, StoredResponses

from .background import MODEL, QUESTION, RESPONSES, Backgrounds, account
from .batches import CHAT
from .callers import raw

LONG = "The cat sat on the mat and thought of dinner. " * 200


@pytest.fixture
def backgrounds(sim: Simulator) -> Iterator[Backgrounds]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


def refused(sim: Simulator, path: str = RESPONSES, **body: Any) -> dict[str, Any]:
    """The error of a request that is a 400."""
    whole = {"model": MODEL, "input": QUESTION, "background": True, **body}
    answer = raw(sim.url, "POST", path, whole)
    assert answer.status == 400
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert sim.stats()["background"]["created"] == 0
    return error


def options(**given: Any) -> dict[str, Any]:
    """The field that openai 3 knows and openai 2 does not."""
    return {"background_options": given}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"background": "yes"}, "background"),
        ({"store": 1}, "store"),
        ({"background_options": "8h"}, "background_options"),
        (options(completion_window="24h"), "background_options.completion_window"),
        (options(completion_window=8), "background_options.completion_window"),
        (options(completion_window=None), "background_options.completion_window"),
        (options(continuation_id=7), "background_options.continuation_id"),
        (options(priority=1), "background_options.priority"),
        ({"input": None}, "input"),
        ({"service_tier": "cheap"}, "service_tier"),
    ],
)
def test_mistakes_are_named(sim: Simulator, body: dict[str, Any], param: str) -> None:
    """A field that cannot be is a 400 with its name, and creates nothing."""
    assert refused(sim, **body)["param"] == param


@pytest.mark.parametrize("window", ["2h", "8h"])
@pytest.mark.parametrize(
    ("body", "needed"),
    [
        ({"background": False}, "background: true"),
        ({"background": None}, "background: true"),
        ({"service_tier": "flex"}, "Standard processing"),
        ({"service_tier": "priority"}, "Standard processing"),
        ({"stream": True}, "stream: false"),
    ],
)
def test_discounts_have_conditions(
    sim: Simulator, window: str, body: dict[str, Any], needed: str
) -> None:
    """The windows of two and eight hours need background, the standard tier, and no stream."""
    error = refused(sim, **options(completion_window=window), **body)
    assert error["param"] == "background_options.completion_window"
    assert needed in error["message"]


@pytest.mark.parametrize("tier", ["auto", "default"])
def test_the_standard_tier_has_two_more_names(backgrounds: Backgrounds, tier: str) -> None:
    """Both go with a window."""
    response = backgrounds.create("8h", service_tier=tier)
    assert backgrounds.look(response).service_tier == "default"


@pytest.mark.parametrize(
    ("model", "known"),
    [("gpt-6.2", True), ("gpt-6.2-sol", True), ("gpt-7", True), ("gpt-6.1-sol", False),
     ("gpt-6-sol", False), ("gpt-5", False), ("o3", False), ("gpt-4.1", False)],
)  # fmt: skip
def test_models_with_windows_and_without(
    sim: Simulator, backgrounds: Backgrounds, model: str, known: bool
) -> None:
    """A model without them is a 400 with 8h; soonest takes every model."""
    assert has_windows(model) is known
    assert backgrounds.create(model=model).status == "queued"
    if known:
        assert backgrounds.create("8h", model=model).status == "queued"
        return
    with pytest.raises(openai.BadRequestError) as caught:
        backgrounds.create("8h", model=model)
    assert caught.value.param == "background_options.completion_window"
    assert sim.stats()["outcomes"]["standard"] == {"unsupported": 1}
    sim.weather = Weather(background=BackgroundWeather(window_models=("gpt*", "o3")))
    assert backgrounds.create("8h", model=model).status == "queued"


def test_models_without_background(sim: Simulator, backgrounds: Backgrounds) -> None:
    """A model that takes none is a 400 on ``background``, and answers directly."""
    sim.weather = Weather(background=BackgroundWeather(unsupported_models=("gpt-4o*",)))
    assert refused(sim, model="gpt-4o-mini")["param"] == "background"
    assert backgrounds.create(model="gpt-4o-mini", background=False).status == "completed"


def test_flex_in_the_background(sim: Simulator, backgrounds: Backgrounds) -> None:
    """``soonest`` goes with a tier: it meets that tier's weather, models and price."""
    sim.weather = Weather(slots=0)
    with pytest.raises(openai.RateLimitError):
        backgrounds.create(model="o3", service_tier="flex")
    sim.weather = Weather()
    with pytest.raises(openai.BadRequestError, match="Unsupported service_tier"):
        backgrounds.create(service_tier="flex")
    response = backgrounds.create(model="o3", service_tier="flex")
    assert backgrounds.look(response).service_tier == "flex"
    assert list(sim.stats()["billed"]["o3"]) == ["flex"]


@pytest.mark.parametrize("field", ["background", "background_options"])
def test_chat_has_no_background(sim: Simulator, field: str) -> None:
    """Chat Completions does not know the parameter."""
    body = {"model": "o3", "messages": [{"role": "user", "content": "?"}], field: None}
    answer = raw(sim.url, "POST", CHAT, body)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "unknown_parameter")


def test_the_typed_field(sim: Simulator, backgrounds: Backgrounds) -> None:
    """openai 3 sends the options by their own argument."""
    create = backgrounds.client.responses.create
    if "background_options" not in inspect.signature(create).parameters:
        pytest.skip("openai 2 has no such argument")
    create(
        model=MODEL,
        input=QUESTION,
        background=True,
        background_options={"completion_window": "8h", "continuation_id": "run-1"},
    )
    assert sim.stats()["background"]["windows"] == {"8h": 1}


def test_encrypted_reasoning_is_included_on_request(backgrounds: Backgrounds) -> None:
    """``include`` means the same as in a direct call."""
    included = backgrounds.create(include=["reasoning.encrypted_content"])
    plain = backgrounds.create()
    assert backgrounds.look(included).output[0].encrypted_content
    assert backgrounds.look(plain).output[0].to_dict().get("encrypted_content") is None


def test_tools_are_called(backgrounds: Backgrounds) -> None:
    """A follow-up by ``previous_response_id`` brings the tool's answer to an end."""
    tool = {"type": "function", "name": "find", "parameters": {"type": "object"}, "strict": None}
    first = backgrounds.look(backgrounds.create("8h", "run", tools=[tool]))
    call = first.output[-1]
    assert call.type == "function_call"
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "On the mat."}
    second = backgrounds.create("8h", "run", input=[output], previous_response_id=first.id)
    done = backgrounds.look(second)
    assert "On the mat." in done.output_text
    assert done.previous_response_id == first.id


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_follow_ups_read_what_was_said_before(
    backgrounds: Backgrounds, first: bool, second: bool
) -> None:
    """In the background or not: the input grows by both turns, the instructions stay behind."""
    one = backgrounds.create(input=LONG, background=first, instructions=LONG)
    one = backgrounds.look(one)
    two = backgrounds.create(
        input="And now?", background=second, previous_response_id=one.id, instructions="Short."
    )
    two = backgrounds.look(two)
    assert two.output_text == "[simulated] And now?"
    alone = backgrounds.look(backgrounds.create(input=LONG)).usage.input_tokens
    assert alone < two.usage.input_tokens < alone + 60
    three = backgrounds.create(input="And then?", previous_response_id=two.id)
    assert backgrounds.look(three).usage.input_tokens > two.usage.input_tokens


def test_follow_ups_of_nothing(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Gone, not stored or not finished is a 400; ids of another provider are taken."""
    sim.script_background(BackgroundOutcome.stay("queued"), BackgroundOutcome.fail())
    unfinished, failed = backgrounds.create(), backgrounds.create()
    gone = backgrounds.look(backgrounds.create())
    backgrounds.delete(gone)
    unstored = backgrounds.create(background=False, store=False)
    for response, code in (
        (unfinished, "invalid_value"),
        (failed, "invalid_value"),
        (gone, "previous_response_not_found"),
        (unstored, "previous_response_not_found"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            backgrounds.create(previous_response_id=response.id)
        assert (caught.value.code, caught.value.param) == (code, "previous_response_id")
    assert backgrounds.create(previous_response_id="resp_1").status == "queued"


@pytest.mark.parametrize("stream", [False, True])
def test_direct_responses_are_stored(backgrounds: Backgrounds, stream: bool) -> None:
    """By default; plain and streamed ones can be looked at."""
    if stream:
        events = list(backgrounds.client.responses.create(model="o3", input=QUESTION, stream=True))
        response = events[-1].response
    else:
        response = backgrounds.create(background=False)
    assert backgrounds.look(response).to_dict() == response.to_dict()
    unstored = backgrounds.create(background=False, store=False)
    with pytest.raises(openai.NotFoundError):
        backgrounds.look(unstored)


def test_old_direct_responses_are_forgotten() -> None:
    """The shelf holds a number of them, so that a long run does not fill the memory."""
    from flextier.sim.base.tokens import PromptCache
    from flextier.sim.behavior.faults import Serve
    from flextier.sim.model.generate import answer
    from flextier.sim.protocol import responses

    shelf = StoredResponses(2)
    ask = responses.read({"model": "o3", "input": "?"})
    said = answer(ask, PromptCache(), Serve())
    for name in ("resp_1", "resp_2", "resp_3"):
        shelf.keep(ask, {"id": name}, said)
    assert shelf.find("resp_1") is None
    assert shelf.find("resp_3") is not None
    shelf.delete("resp_3")
    shelf.delete("resp_3")
    assert MOST == 10_000
    small = StoredResponses(most_text=30)  # "?" and "[simulated] ?" are 14 characters
    for name in ("resp_1", "resp_2", "resp_3"):
        small.keep(ask, {"id": name}, said)
    assert [small.find(f"resp_{n}") is not None for n in (1, 2, 3)] == [False, True, True]
