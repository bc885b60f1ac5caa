"""``@pytest.mark.sampled(n)``: of many sets of parameters, ``make test`` runs one in ``n``.

``--sample n`` does so for all other tests: ``make test`` runs them under openai 3 in this way.
"""

from __future__ import annotations

from zlib import crc32

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of ``make test-openai3``."""
    parser.addoption(
        "--sample",
        type=int,
        default=1,
        metavar="N",
        help="run one in N of a test's sets of parameters",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the other sets to ``make test-all``: chosen by their ids, so they stay the same."""
    first: set[str] = set()
    for item in items:
        mark = item.get_closest_marker("sampled")
        n = config.getoption("--sample") * (1 if mark is None else mark.args[0])
        test, _, parameters = item.nodeid.partition("[")
        if test in first and crc32(parameters.encode()) % n:
            item.add_marker(pytest.mark.exhaustive)
        first.add(test)
