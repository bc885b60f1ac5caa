"""Bad input: each a clear error that names what to change, before any request where possible."""

from __future__ import annotations

import socket
from typing import Any

import openai
import pytest

from flextier import ClientClosedError, FlexOpenAI, track
from flextier.calls.context import listen
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES, Caller
from tests.client.test_clients import make, make_async


def test_a_closed_client(sim: Simulator) -> None:
    """A call on a closed client says that it is closed; it is an error of the SDK's family."""
    client = make(sim)
    client.close()
    with pytest.raises(ClientClosedError, match="has been closed") as caught:
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert isinstance(caught.value, openai.OpenAIError)
    assert sim.requests == []


async def test_a_closed_async_client(sim: Simulator) -> None:
    """The async version."""
    client = make_async(sim)
    await client.close()
    with pytest.raises(ClientClosedError, match="AsyncFlexOpenAI"):
        await client.responses.create(model="o3", input="Hi.")


def test_no_server_at_the_base_url(caller: Caller) -> None:
    """Where no server answers, the error points at base_url, and every attempt is in the report."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"

        outcome = caller(url, FAST.replace(max_retries=1))

    assert type(outcome.error) is openai.APIConnectionError
    assert "OPENAI_BASE_URL" in str(outcome.error)
    assert outcome.lanes == ["flex", "flex", "standard", "standard"]
    assert not any(a.possibly_billed for a in outcome.report.attempts), "nothing ever left"


@pytest.mark.parametrize(
    ("framework", "proxy", "hint"),
    [
        ("llama-index", False, "check base_url (OPENAI_API_BASE)"),
        (None, True, "check the proxy (HTTP_PROXY)"),
    ],
)
def test_the_hint_names_what_counts(
    framework: str | None, proxy: bool, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LlamaIndex has a variable of its own, and a proxy stands before any server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        if proxy:
            monkeypatch.setenv("HTTP_PROXY", url)
            monkeypatch.setenv("NO_PROXY", "")
        client = FlexOpenAI(
            base_url="http://sim.invalid/v1" if proxy else f"{url}/v1",
            api_key=KEY,
            policy=FAST.replace(max_retries=0),
        )
        with client, listen(framework=framework), pytest.raises(openai.APIConnectionError) as error:
            client.responses.create(model="o3", input="Hi.")
    assert hint in str(error.value)


def test_no_hint_where_a_server_answers(plain: Caller, sim: Simulator) -> None:
    """It is the right one."""
    sim.script(*[Fault.status(500)] * 4)
    error = plain(sim.base_url, FAST.replace(max_retries=1)).error
    assert "500" in str(error)
    assert "base_url" not in str(error)


def test_another_server_at_the_base_url(plain: Caller, sim: Simulator) -> None:
    """A server of another protocol is distinguished from a malformed response."""
    outcome = plain(sim.url + "/nowhere")

    assert isinstance(outcome.error, openai.NotFoundError)
    assert len(outcome.lanes) == 1


def test_no_key() -> None:
    """Without a key the SDK's own message says so."""
    with pytest.raises(openai.OpenAIError, match="OPENAI_API_KEY"):
        FlexOpenAI()


def test_an_unknown_argument(sim: Simulator) -> None:
    """A misspelt argument is a TypeError, not ignored."""
    with pytest.raises(TypeError, match="patiense"):
        make(sim, patiense=3)


def test_the_key_is_nowhere_to_be_seen(sim: Simulator) -> None:
    """Neither reports nor errors nor policies show a key."""
    with make(sim) as client, track() as calls, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="", messages=[])
    shown: Any = (calls, caught.value, client.policy)
    assert KEY not in repr(shown) + str(caught.value)
