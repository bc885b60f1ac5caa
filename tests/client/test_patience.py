"""How long a call stays on a flex lane that refuses all of them, in virtual time."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import openai
import pytest

from flextier import Clock, FlexOpenAI, FlexPolicy, track
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Simulator, Weather
from tests.client.callers import KEY, MESSAGES


class VirtualTime:
    """A clock whose sleeps take no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> Clock:
        """The clock to pass in."""
        return Clock(now=lambda: self.now, sleep=self._sleep, random=lambda: 0.999)

    def _sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator whose flex lane refuses every request."""
    flextier_sim.weather = Weather(slots=0)
    return flextier_sim


def seconds_on_flex(
    sim: Simulator, policy: FlexPolicy, call: dict[str, Any], **arguments: Any
) -> float:
    """Seconds until the call fell back to standard."""
    client = FlexOpenAI(
        base_url=sim.base_url, api_key=KEY, policy=policy, clock=VirtualTime().clock(), **arguments
    )
    with client, track() as calls:
        client.chat.completions.create(model="o3", messages=MESSAGES, **call)
    assert calls[0].lane == "standard"
    assert calls[0].fallback == "capacity"
    return calls[0].waited


@pytest.mark.parametrize(
    ("fields", "arguments", "call", "seconds"),
    [
        ({}, {}, {}, 300),
        ({}, {"max_retries": 0}, {}, 300),
        ({}, {"timeout": 10, "max_retries": 0}, {}, 10),
        ({}, {"timeout": 10}, {}, 30),
        ({}, {"timeout": openai.Timeout(600, read=10), "max_retries": 1}, {}, 20),
        ({}, {"timeout": 600}, {}, 300),
        ({}, {"timeout": 10, "max_retries": 0}, {"timeout": 20}, 20),
        ({}, {}, {"timeout": 20}, 60),
        ({}, {"timeout": 20}, {"timeout": None}, 300),
        ({"deadline": 900}, {}, {}, 870),
        ({"deadline": 900}, {"timeout": 10, "max_retries": 0}, {}, 870),
        ({"patience": 45}, {"timeout": 10, "max_retries": 0}, {}, 45),
        ({"patience": 45, "deadline": 900}, {}, {}, 45),
    ],
)
def test_how_long_flex_is_waited_for(
    fields: dict[str, Any],
    arguments: dict[str, Any],
    call: dict[str, Any],
    seconds: float,
    sim: Simulator,
) -> None:
    """As long as ``patience`` says; else to the deadline's reserve; else as timeout and retries."""
    waited = seconds_on_flex(sim, FlexPolicy(**fields), call, **arguments)
    assert seconds - 60 <= waited <= seconds + 0.01


def test_langchain(sim: Simulator) -> None:
    """The arguments of ``ChatOpenAI`` bound the call as they do there."""
    llm = ChatOpenAIFlex(model="o3", base_url=sim.base_url, api_key=KEY, timeout=0.3, max_retries=0)
    report = llm.invoke("Hi.").response_metadata["flextier"]
    assert report["limits"].startswith("patience 0.3 s (timeout * (max_retries + 1)), ")
    assert (report["lane"], report["fallback"]) == ("standard", "capacity")


@pytest.mark.skipif(find_spec("llama_index") is None, reason="LlamaIndex is not installed")
@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({"timeout": 0.3, "max_retries": 0}, "patience 0.3 s (timeout * (max_retries + 1)), "),
        ({"policy": {"patience": 0.1}}, "patience 0.1 s (in code), flex_timeout 900 s (default), "),
    ],
)
def test_llama_index(arguments: dict[str, Any], limits: str, sim: Simulator) -> None:
    """Its own default of 60 s is no argument."""
    from flextier.llama_index import OpenAIFlex

    llm = OpenAIFlex(model="o3", api_base=sim.base_url, api_key=KEY, **arguments)
    report = llm.complete("Hi.").additional_kwargs["flextier"]
    assert report["limits"].startswith(limits)
    assert (report["lane"], report["fallback"]) == ("standard", "capacity")
    llm._client.close()
