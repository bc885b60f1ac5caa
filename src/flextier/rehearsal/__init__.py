"""Rehearsals: the real client in virtual time, over traces of the flex lane's weather."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._lazy import lazily

if TYPE_CHECKING:
    from flextier.rehearsal.clairvoyant import Clairvoyant as Clairvoyant
    from flextier.rehearsal.ours import rehearse as rehearse
    from flextier.rehearsal.result import Rehearsal as Rehearsal
    from flextier.rehearsal.trace import Trace as Trace

__all__ = ["Clairvoyant", "Rehearsal", "Trace", "rehearse"]

# Loaded when first used, so that `flextier --help` does not pay for it.
_HOMES = {
    "Clairvoyant": "clairvoyant",
    "Rehearsal": "result",
    "Trace": "trace",
    "rehearse": "ours",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
