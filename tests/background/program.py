"""A program with steps on background lanes and a journal, in a process that can be killed."""

from __future__ import annotations

from typing import Any

import flextier.background.runner
import flextier.journal.journal
import flextier.routing.deferred  # noqa: F401 - all of them loaded before the fork, once
from flextier import FlexOpenAI
from tests.background.asking import POLICY, ask, options
from tests.batch.crowd import patch_all
from tests.journal.program import _Always, _die_at


def main(there: Any, url: str, path: str, asked: list[str], settings: dict[str, Any]) -> None:
    """Ask one question after another; returns the lane and the text of each."""
    patch_all(_Always, "MIN_POLL_INTERVAL", 0.02, "flextier.background")
    if (point := settings.pop("die", None)) is not None:
        _die_at(*point)
    policy = POLICY.replace(journal=path, **settings)
    with FlexOpenAI(**options(url, policy)) as client:
        outcome = [ask(client, input=question) for question in asked]
    there.send([(one.report.lane, one.text) for one in outcome])


class Program:
    """One run of the program."""

    def __init__(self, context: Any, *given: Any) -> None:
        self._here, there = context.Pipe(duplex=False)
        self.process = context.Process(target=main, args=(there, *given))
        self.process.start()
        there.close()

    @property
    def answers(self) -> list[tuple[str, str]]:
        """What became of its calls; waits for that."""
        said: list[tuple[str, str]] = self._here.recv()
        self.process.join()
        return said

    def died(self) -> bool:
        """Whether it was killed; waits for its end."""
        self.process.join()
        return bool(self.process.exitcode == -9)

    def end(self) -> None:
        """Whatever it does, it does no more."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        self._here.close()
