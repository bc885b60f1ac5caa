"""``@pytest.mark.sampled(n)``: of many sets of parameters, ``make test`` runs one in ``n``."""

from __future__ import annotations

from zlib import crc32

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the other sets to ``make test-all``: chosen by their ids, so they stay the same."""
    first: set[str] = set()
    for item in items:
        if (mark := item.get_closest_marker("sampled")) is None:
            continue
        (n,) = mark.args
        test, _, parameters = item.nodeid.partition("[")
        if test in first and crc32(parameters.encode()) % n:
            item.add_marker(pytest.mark.exhaustive)
        first.add(test)
