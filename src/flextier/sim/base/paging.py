"""Lists of objects, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted.

    Attributes:
        limit: The most objects on it.
        after: The id of the last object of the page before; None: the first page.
        newest_first: The order.
    """

    limit: int
    after: str | None = None
    newest_first: bool = True

    @classmethod
    def of(cls, query: Mapping[str, str], *, limit: int, most: int) -> Page:
        """From a query's ``limit``, ``after`` and ``order``.

        Args:
            query: The query.
            limit: The limit where it gives none.
            most: The largest limit.

        Raises:
            Rejected: One of them cannot be.
        """
        given = query.get("limit", str(limit))
        if not given.isdecimal() or not 1 <= int(given) <= most:
            raise Rejected(api_errors.invalid("limit", f"expected an integer from 1 to {most}."))
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise Rejected(api_errors.unsupported("order", order, ("asc", "desc")))
        return cls(int(given), query.get("after"), order == "desc")


def read_query(query: bytes) -> dict[str, str]:
    """A query string's parameters, the last of each."""
    return {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}


def paged(objects: Sequence[dict[str, Any]], page: Page) -> dict[str, Any]:
    """A page of objects that are given oldest first.

    Raises:
        Rejected: It begins after an object that there is not.
    """
    ordered = list(reversed(objects)) if page.newest_first else list(objects)
    if page.after is not None:
        place = next((i for i, one in enumerate(ordered) if one["id"] == page.after), None)
        if place is None:
            raise Rejected(api_errors.invalid("after", f"no such object: {page.after}"))
        ordered = ordered[place + 1 :]
    data = ordered[: page.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(ordered) > len(data),
    }
