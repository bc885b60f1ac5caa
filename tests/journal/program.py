"""A program that asks many things with a journal, in a process of its own that can be killed."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flextier.batch.manager
import flextier.journal.journal
import flextier.routing.deferred
import flextier.routing.stream_journal  # noqa: F401 - all of them loaded before the fork, once
from flextier import FlexOpenAI, FlexPolicy, track
from flextier.calls.report import CallReport
from flextier.pricing.price_book import cost_or_unpriced
from flextier.pricing.usage import Usage
from tests.batch.crowd import POLICY, Said, options, patch_all, tasks

cost_or_unpriced(Usage(1, 1), ("o3",), "batch", 0.0)  # reads the prices: before the fork, too

ONE_FILE = {"batch_window": 20.0}
"""All lines in one file, which goes when it is full."""


@dataclass(frozen=True)
class CallResult:
    """What came of one call in another process."""

    question: str
    text: str | None
    lanes: list[str]
    lane: str
    cost: str
    possibly_billed: bool
    error: str | None

    @property
    def is_right(self) -> bool:
        """Whether the call was answered, with the answer to its own question."""
        return self.text == f"[simulated] {self.question}"


class Program:
    """One run of the program."""

    def __init__(
        self, context: Any, url: str, path: str, asked: list[str], settings: dict[str, Any]
    ) -> None:
        self.path = path
        self._here, there = context.Pipe(duplex=False)
        self.process = context.Process(target=_main, args=(there, url, path, asked, settings))
        self.process.start()
        there.close()

    @property
    def results(self) -> list[CallResult]:
        """What became of its calls; waits for that."""
        said: list[CallResult] = self._here.recv()
        self.process.join()
        return said

    def died(self) -> bool:
        """Whether it was killed; waits for its end."""
        self.process.join()
        return bool(self.process.exitcode == -signal.SIGKILL)

    def stopped(self) -> bool:
        """Whether it stands still."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "T"

    def send(self, signal_number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, signal_number)

    def end(self) -> None:
        """Whatever it does, it does no more."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        self._here.close()


class _Always:
    """Stands in for pytest's monkeypatch, where nothing has to be put back."""

    @staticmethod
    def setattr(where: Any, name: str, value: Any) -> None:
        setattr(where, name, value)


def _main(there: Any, url: str, path: str, asked: list[str], settings: dict[str, Any]) -> None:
    patch_all(_Always, "LIST_DELAY", settings.pop("settling", 0.1))
    patch_all(_Always, "MAX_LINES", settings.pop("lines", len(asked)))
    if (point := settings.pop("die", None)) is not None:
        _die_at(*point)
    api = settings.pop("stream", None)
    policy = POLICY.replace(journal=path, **{**ONE_FILE, **settings})
    said = (
        streams(_options(url, policy), asked, api) if api else tasks(_options(url, policy), asked)
    )
    there.send([_result_of(one) for one in said])


def streams(made: dict[str, Any], asked: list[str], api: str) -> Iterator[Said]:
    """One stream after another, each read to its last event."""
    with FlexOpenAI(**made) as client:
        for question in asked:
            with track() as calls:
                if api == "chat":
                    messages: Any = [{"role": "user", "content": question}]
                    chunks = client.chat.completions.create(
                        model="o3", messages=messages, stream=True
                    )
                    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
                else:
                    events = client.responses.create(model="o3", input=question, stream=True)
                    texts = [e.delta for e in events if e.type == "response.output_text.delta"]
            yield Said(question, calls[0], "".join(texts))


def _options(url: str, policy: FlexPolicy) -> dict[str, Any]:
    return options(url, policy)


def _result_of(said: Any) -> CallResult:
    report: CallReport = said.report
    return CallResult(
        said.question,
        said.text,
        said.lanes,
        report.lane,
        str(report.cost.total),
        any(attempt.possibly_billed for attempt in report.attempts),
        None if said.error is None else repr(said.error),
    )


def _die_at(when: str, where: str, nth: int = 1, how: int = signal.SIGKILL) -> None:
    """Be killed, or stopped, before or after the nth call of ``module:Class.method``."""
    module, _, path = where.partition(":")
    owner, name = importlib.import_module(module), path
    if "." in path:
        owner, name = getattr(owner, path.partition(".")[0]), path.partition(".")[2]
    method, calls = getattr(owner, name), []

    def deadly(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if when == "before" and len(calls) == nth:
            _signal(how)
        answer = method(*args, **kwargs)
        if when == "after" and len(calls) == nth:
            _signal(how)
        return answer

    setattr(owner, name, deadly)


def _signal(how: int) -> None:
    """To this very thread: it goes no further, whichever thread would take the process's."""
    signal.pthread_kill(threading.get_ident(), how)
