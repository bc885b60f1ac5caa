"""Rehearsals: the real client in virtual time, over traces of the flex lane's weather."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import lazy_getattr

if TYPE_CHECKING:
    from flextier.rehearsal.flextier_client import rehearse as rehearse
    from flextier.rehearsal.oracle import Clairvoyant as Clairvoyant
    from flextier.rehearsal.result import Rehearsal as Rehearsal
    from flextier.rehearsal.trace import Trace as Trace

__all__ = ["Clairvoyant", "Rehearsal", "Trace", "rehearse"]

# Loaded when first used, so that `flextier --help` does not pay for it.
_HOMES = {
    "Clairvoyant": "flextier.rehearsal.oracle",
    "Rehearsal": "flextier.rehearsal.result",
    "Trace": "flextier.rehearsal.trace",
    "rehearse": "flextier.rehearsal.flextier_client",
}

__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
