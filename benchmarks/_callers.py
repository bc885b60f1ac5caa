"""Many processes with the stock SDK, which share a gateway: they are forked, and begin at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import openai


class Callers(TypedDict, total=False):
    """What the processes do."""

    url: str
    processes: int
    calls: int
    """Of all processes together."""
    at_once: int
    """Calls of a process that are under way together."""
    model: str
    words: int
    """Words of each prompt besides its number."""
    max_retries: int
    retry_after: float
    """Seconds before a retry; not given: as the SDK waits, up to 8."""
    names_calls: bool
    """Whether every second process names its calls (``x-flextier-call``)."""
    headers: dict[str, str]


class Running:
    """The processes, until :meth:`end`.

    Args:
        callers: what they do.
        place: a directory for what they print.
    """

    def __init__(self, callers: Callers, place: Path) -> None:
        self._printed = place / "callers.json"
        with self._printed.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, __file__, json.dumps(callers)],
                stdout=file,
                start_new_session=True,  # so that all of them can be ended
            )

    def wait_with(self, gateway: subprocess.Popen[Any]) -> None:
        """Wait for their end.

        Raises:
            RuntimeError: one of them has failed, or the gateway has ended before.
        """
        while self.process.poll() is None:
            if gateway.poll() is not None:
                raise RuntimeError(f"the gateway has ended with status {gateway.returncode}")
            time.sleep(0.05)
        if self.process.returncode:
            raise RuntimeError(f"the callers have ended with status {self.process.returncode}")

    def outcomes(self) -> list[tuple[int, str]]:
        """The number of each call, with the lane of its answer or the name of its error."""
        return [(number, outcome) for number, outcome in json.loads(self._printed.read_text())]

    def end(self) -> None:
        """End those that still run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def body(number: int, callers: Callers) -> dict[str, Any]:
    """What a call asks."""
    prompt = f"Call {number}." + " why" * callers.get("words", 0)
    messages = [{"role": "user", "content": prompt}]
    return {"messages": messages, "model": callers.get("model", "o4-mini")}


def call_id(number: int) -> str:
    """What a process names a call."""
    return f"call-{number:06}"


def _process(callers: Callers) -> Callable[[int], list[tuple[int, str]]]:
    def run(process: int) -> list[tuple[int, str]]:
        numbers = range(process, callers["calls"], callers["processes"])
        return asyncio.run(_calls(process, numbers, callers))

    return run


class _Client(openai.AsyncOpenAI):
    retry_after: float | None = None

    def _calculate_retry_timeout(self, *args: Any, **kwargs: Any) -> float:
        if self.retry_after is not None:
            return self.retry_after
        return super()._calculate_retry_timeout(*args, **kwargs)


async def _calls(process: int, numbers: range, callers: Callers) -> list[tuple[int, str]]:
    is_named = callers.get("names_calls", False) and process % 2 == 0
    left, done = iter(numbers), []
    async with _Client(
        base_url=callers["url"],
        api_key="a-caller-s",
        max_retries=callers.get("max_retries", 2),
        timeout=3600,
        default_headers=callers.get("headers"),
    ) as client:
        client.retry_after = callers.get("retry_after")

        async def caller() -> None:
            for number in left:
                name = {"x-flextier-call": call_id(number)} if is_named else {}
                done.append((number, await _outcome(client, number, callers, name)))

        await asyncio.gather(*(caller() for _ in range(callers.get("at_once", 8))))
    return done


async def _outcome(client: Any, number: int, callers: Callers, name: dict[str, str]) -> str:
    asked = body(number, callers)
    try:
        raw = await client.chat.completions.with_raw_response.create(**asked, extra_headers=name)
    except openai.OpenAIError as error:
        return getattr(error, "code", None) or type(error).__name__
    answer = raw.parse().choices[0].message.content
    return raw.headers["x-flextier-lane"] if f"Call {number}." in answer else "another's answer"


_RUN: Callable[[int], list[tuple[int, str]]]


def _run(process: int) -> list[tuple[int, str]]:
    return _RUN(process)


if __name__ == "__main__":
    settings: Callers = json.loads(sys.argv[1])
    _RUN = _process(settings)
    with multiprocessing.get_context("fork").Pool(settings["processes"]) as pool:
        made = pool.map(_run, range(settings["processes"]), chunksize=1)
    print(json.dumps([outcome for each in made for outcome in each]))
