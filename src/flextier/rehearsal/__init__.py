"""Rehearsals: the real client in virtual time, over traces of the flex lane's weather."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import load_on_first_use

if TYPE_CHECKING:
    from flextier.rehearsal.flextier_client import rehearse
    from flextier.rehearsal.oracle import Clairvoyant
    from flextier.rehearsal.result import Rehearsal
    from flextier.rehearsal.trace import Trace

__all__ = ["Clairvoyant", "Rehearsal", "Trace", "rehearse"]

# Loaded when first used, so that `flextier --help` does not pay for it.
if not TYPE_CHECKING:
    __getattr__, __dir__ = load_on_first_use(
        __name__,
        __all__,
        {
            "rehearsal.oracle": "Clairvoyant",
            "rehearsal.result": "Rehearsal",
            "rehearsal.trace": "Trace",
            "rehearsal.flextier_client": "rehearse",
        },
    )
