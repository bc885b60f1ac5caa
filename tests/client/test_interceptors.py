"""Tools with which users test their own code: recorders and fakes that replace httpx's methods."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import respx
import vcr

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, track
from flextier._openai.http_library import MAJOR
from flextier.sim import Simulator

ASK: dict[str, Any] = {"model": "o4-mini", "input": "Name a colour."}
ONCE = FlexPolicy(max_retries=0, patience=0)
URL = "http://127.0.0.1:9/v1"  # nothing listens there


async def answers(base_url: str) -> list[str]:
    """The ids of the responses to a sync, an async and a streamed call."""
    with FlexOpenAI(base_url=base_url, api_key="k", policy=ONCE) as client:
        ids = [client.responses.create(**ASK).id]
    async with AsyncFlexOpenAI(base_url=base_url, api_key="k", policy=ONCE) as client:
        ids.append((await client.responses.create(**ASK)).id)
        events = [event async for event in await client.responses.create(**ASK, stream=True)]
        ids.append(events[-1].response.id)
    return ids


async def test_vcr_cassettes(flextier_sim: Simulator, tmp_path: Path) -> None:
    """Calls are recorded on real sockets, and replayed where nothing reaches the server."""
    cassette = str(tmp_path / "calls.yaml")
    with vcr.use_cassette(cassette, match_on=["method", "path", "body"]):
        recorded = await answers(flextier_sim.base_url)
    sent = len(flextier_sim.requests)
    again = vcr.use_cassette(cassette, match_on=["method", "path", "body"], record_mode="none")
    with again, track() as calls:
        replayed = await answers(URL)
    assert replayed == recorded
    assert (sent, len(flextier_sim.requests)) == (3, 3)
    assert [call.lane for call in calls] == ["flex"] * 3


async def test_one_client_in_and_out_of_a_cassette(flextier_sim: Simulator, tmp_path: Path) -> None:
    """An async client that has connections over aiohttp is recorded, too, and keeps them."""
    async with AsyncFlexOpenAI(base_url=flextier_sim.base_url, api_key="k", policy=ONCE) as client:
        before = await client.responses.create(**ASK)
        with vcr.use_cassette(str(tmp_path / "one.yaml")) as cassette:
            inside = await client.responses.create(**ASK)
        assert cassette.responses[0]["status"]["code"] == 200
        after = await client.responses.create(**ASK)
    assert len({before.id, inside.id, after.id}) == 3
    assert len(cassette) == 1


@pytest.mark.skipif(MAJOR >= 3, reason="respx replaces the methods of httpx, not of httpx2")
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx(using: str, flextier_sim: Simulator) -> None:
    """Neither client sends what respx answers."""
    with FlexOpenAI(base_url=flextier_sim.base_url, api_key="k") as client:
        body = client.responses.with_raw_response.create(**ASK).http_response.json()
    with respx.mock(using=using) as mocked:
        mocked.post(f"{URL}/responses").respond(json=body)
        with FlexOpenAI(base_url=URL, api_key="k", policy=ONCE) as client:
            assert client.responses.create(**ASK).id == body["id"]
        async with AsyncFlexOpenAI(base_url=URL, api_key="k", policy=ONCE) as client:
            assert (await client.responses.create(**ASK)).id == body["id"]


async def test_fakes_of_aiohttp(flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """They set no HTTP version."""
    original = aiohttp.ClientSession._request

    async def request(*arguments: Any, **keywords: Any) -> Any:
        response = await original(*arguments, **keywords)
        response.version = None
        return response

    monkeypatch.setattr(aiohttp.ClientSession, "_request", request)
    async with AsyncFlexOpenAI(base_url=flextier_sim.base_url, api_key="k", policy=ONCE) as client:
        assert (await client.responses.create(**ASK)).output_text


@pytest.mark.parametrize(("given", "seen"), [({}, "0"), ({"FLEXTIER_AIOHTTP": "1"}, "1")])
def test_the_plugin_keeps_tests_on_httpx(given: dict[str, str], seen: str, tmp_path: Path) -> None:
    """In every pytest run of an environment with flextier, unless the user has set it."""
    (tmp_path / "test_user.py").write_text(
        f"import os\ndef test(): assert os.environ['FLEXTIER_AIOHTTP'] == {seen!r}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "FLEXTIER_AIOHTTP"}
    ended = subprocess.run(
        command, env=environment | given, cwd=tmp_path, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
