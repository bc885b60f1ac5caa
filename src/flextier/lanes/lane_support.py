"""What a user says of the lanes that models are sold on, as ``FlexPolicy.lane_support`` has it."""

from __future__ import annotations

SUPPORTABLE = ("batch", "flex", "background")
"""What can be named in an offer; standard always is."""


def parse_lane_support(told: str) -> tuple[str, frozenset[str]]:
    """A pattern and its lanes, of ``"gpt-7*=batch+background"``.

    Raises:
        ValueError: it is no such thing.
    """
    pattern, equals, names = told.partition("=")
    lanes = frozenset(name.strip() for name in names.split("+") if name.strip())
    if not pattern.strip() or not equals or lanes - set(SUPPORTABLE):
        raise ValueError(
            f"{told!r} is no offer such as 'gpt-7*=batch+background': a model or a shell pattern, "
            f"and its lanes, of {', '.join(SUPPORTABLE)}"
        )
    return pattern.strip(), lanes
