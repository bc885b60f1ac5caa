"""Many calls at once, from threads or from an event loop, and what became of each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import openai

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, FlexPolicy, track
from flextier.sim import Simulator
from tests.client.callers import KEY

POLICY = FlexPolicy(
    lanes=("batch", "standard"),
    batch_window=0.05,
    batch_poll_interval=0.04,
    batch_reserve=0.5,
    standard_reserve=0.5,
    backoff_initial=0.01,
    backoff_max=0.02,
)
ALONE = POLICY.replace(lanes=("batch",))
PATIENT = POLICY.replace(batch_window=20)
"""For crowds that are to come into one file, which goes when it is full."""


@dataclass(frozen=True)
class Said:
    """What came of one call."""

    question: str
    report: CallReport
    text: str | None = None
    error: BaseException | None = None

    @property
    def is_right(self) -> bool:
        """Whether the call was answered, with the answer to its own question."""
        return self.text == f"[simulated] {self.question}"

    @property
    def lanes(self) -> list[str]:
        """``lane:outcome`` of the attempts, in order."""
        return [f"{attempt.lane}:{attempt.outcome}" for attempt in self.report.attempts]


def questions(count: int, about: str = "number") -> list[str]:
    """So many different questions of one sentence each."""
    return [f"What of {about} {n}?" for n in range(count)]


def options(sim: Simulator | str, policy: FlexPolicy = POLICY, **others: Any) -> dict[str, Any]:
    """What a client is made with."""
    url = sim if isinstance(sim, str) else sim.base_url
    return {"base_url": url, "api_key": KEY, "policy": policy, **others}


def ask(client: FlexOpenAI, question: str, model: str = "o3", **body: Any) -> Said:
    """One call."""
    with track() as calls:
        try:
            answer = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], **body
            )
        except Exception as error:  # noqa: BLE001 - the outcome under test
            return Said(question, _only(calls), error=error)
    return Said(question, _only(calls), answer.choices[0].message.content)


async def aask(client: AsyncFlexOpenAI, question: str, model: str = "o3", **body: Any) -> Said:
    """Async counterpart of :func:`ask`."""
    with track() as calls:
        try:
            answer = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], **body
            )
        except Exception as error:  # noqa: BLE001 - the outcome under test
            return Said(question, _only(calls), error=error)
    return Said(question, _only(calls), answer.choices[0].message.content)


Crowd = Callable[..., list[Said]]


def threads(made: dict[str, Any], asked: Sequence[str], **body: Any) -> list[Said]:
    """All at once, each in a thread of its own."""
    with FlexOpenAI(**made) as client, ThreadPoolExecutor(max(1, len(asked))) as pool:
        return list(pool.map(lambda question: ask(client, question, **body), asked))


def tasks(made: dict[str, Any], asked: Sequence[str], **body: Any) -> list[Said]:
    """All at once, each in a task of its own."""

    async def main() -> list[Said]:
        async with AsyncFlexOpenAI(**made) as client:
            return await asyncio.gather(*(aask(client, q, **body) for q in asked))

    return asyncio.run(main())


def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait for something that other threads are about to do."""
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError(f"{what} did not come true")


async def auntil(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Async counterpart of :func:`until`."""
    for _ in range(60_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what} did not come true")


def count(sim: Simulator, method: str, path: str) -> int:
    """How often a path was asked for; ``{id}`` stands for any id."""
    return len(seen(sim, method, path))


def seen(sim: Simulator, method: str, path: str) -> list[Any]:
    """The requests for a path; ``{id}`` stands for any id."""
    wanted = ("/v1" + path).split("/")
    return [
        request
        for request in sim.requests
        if request.method == method and _fits(request.path.split("/"), wanted)
    ]


def _fits(parts: list[str], wanted: list[str]) -> bool:
    return len(parts) == len(wanted) and all(
        want in ("{id}", part) for part, want in zip(parts, wanted, strict=True)
    )


def batches(sim: Simulator) -> list[Any]:
    """The batches that the simulator knows, as the SDK shows them; the newest first."""
    with openai.OpenAI(base_url=sim.base_url, api_key=KEY) as client:
        return list(client.batches.list())


def lines(sim: Simulator, batch: Any) -> list[dict[str, Any]]:
    """The lines of a batch's input file."""
    with openai.OpenAI(base_url=sim.base_url, api_key=KEY) as client:
        content = client.files.content(batch.input_file_id).read()
    return [json.loads(line) for line in content.splitlines()]


def files(sim: Simulator) -> int:
    """How many batches were created."""
    created: int = sim.stats()["batches"]["created"]
    return created


def _only(calls: list[CallReport]) -> CallReport:
    assert len(calls) == 1, f"one call makes one report, not {len(calls)}"
    return calls[0]


def patch_all(monkeypatch: Any, name: str, value: Any, package: str = "flextier.batch") -> None:
    """Change a constant in every module of a package that has it."""
    found = [
        module
        for path, module in list(sys.modules.items())
        if path.startswith(package) and hasattr(module, name)
    ]
    assert found, f"no module of {package} has {name}"
    for module in found:
        monkeypatch.setattr(module, name, value)
