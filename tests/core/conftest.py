"""The core alone: no server, no socket, no real wait."""

from __future__ import annotations

from hypothesis import settings

# A machine that is busy for a moment is no counterexample.
settings.register_profile("flextier", deadline=None, max_examples=200)
settings.load_profile("flextier")
