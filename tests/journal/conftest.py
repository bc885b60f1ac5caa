"""Fixtures of the journal's tests: those of the batch lane, and processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batch.conftest import (
    batch_sim,
    clean_desks,
    crowd,
    pytest_generate_tests,
    sim,
)
from tests.journal.program import Program

__all__ = ["batch_sim", "clean_desks", "crowd", "pytest_generate_tests", "sim"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the journal is."""
    return str(tmp_path / "calls.db")


Start = Callable[..., Program]


@pytest.fixture(scope="session")
def processes() -> Any:
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.journal.program"])
    return context


@pytest.fixture
def start(processes: Any, sim: Any, path: str) -> Iterator[Start]:
    """Starts the program in a process of its own."""
    begun: list[Program] = []

    def begin(asked: list[str], **settings: Any) -> Program:
        begun.append(Program(processes, sim.base_url, path, asked, settings))
        return begun[-1]

    yield begin
    for program in begun:
        program.end()
