"""Which tests were skipped and why: said at the end, and checked by ``--check-skips``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LISTED = Path(__file__).with_suffix(".txt")

NO_CHROMIUM = "chromium is not installed"
NO_POSTGRESQL = "PostgreSQL is not installed"
_INSTALL = {NO_CHROMIUM: "chromium", NO_POSTGRESQL: "postgresql"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of ``.ci/run``."""
    parser.addoption(
        "--check-skips",
        action="store_true",
        help="fail if a test is skipped for a reason that tests/skips.txt does not list",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Count where all reports come together, which is not in a worker of xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Skips(check=config.getoption("--check-skips")))


class _Skips:
    """The reasons of one run, with the number of tests that were skipped for each."""

    def __init__(self, *, check: bool) -> None:
        self._check = check
        self._reasons = Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a skipped test."""
        if report.skipped and not hasattr(report, "wasxfail"):
            assert not isinstance(report.longrepr, str)
            _, _, why = report.longrepr  # type: ignore[misc]
            self._reasons[why.removeprefix("Skipped: ")] += 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Say, below everything else, what was skipped for want of a program, or unlisted."""
        yield
        lines = [
            f"{_skipped(count)} because {why}; on Debian: apt-get install {_INSTALL[why]}"
            for why, count in self._reasons.items()
            if why in _INSTALL
        ]
        if self._check and (unlisted := self._unlisted()):
            lines += [
                f"{_skipped(count)} for a reason that tests/{LISTED.name} does not list: {why}"
                for why, count in unlisted.items()
            ]
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        for line in lines if terminal is not None else []:
            terminal.write_line(line, yellow=True)

    def _unlisted(self) -> dict[str, int]:
        text = LISTED.read_text(encoding="utf-8").splitlines()
        listed = [line for line in text if line and not line.startswith("#")]
        return {
            reason: count
            for reason, count in self._reasons.items()
            if not any(fnmatchcase(reason, pattern) for pattern in listed)
        }


def _skipped(count: int) -> str:
    return "1 test was skipped" if count == 1 else f"{count} tests were skipped"
