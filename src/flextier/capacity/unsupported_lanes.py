"""The lanes that this process knows a model not to have: "this model has no flex"."""

from __future__ import annotations

from typing import NamedTuple


class LaneKey(NamedTuple):
    """A lane of a model of an account."""

    base_url: str
    account: str
    model: str
    lane: str


class UnsupportedLanes(set[LaneKey]):
    """The lanes that a server has rejected for a model, for the life of this process.

    A rejected attempt costs nothing, so a lane is worth one even where tables say that it is
    missing; it is not attempted again.
    """
