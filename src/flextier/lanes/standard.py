"""The standard lane: list price, no catch."""

from __future__ import annotations

from flextier.lanes.base import Lane

# Asked for by name: leaving the tier out means the project's default, which may be a dearer one.
STANDARD = Lane(name="standard", service_tier="default", served_as=frozenset({"auto", "standard"}))
