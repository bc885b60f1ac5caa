"""What this process has learned that models and servers do not support: remembered refusals."""

from __future__ import annotations

from collections.abc import Collection

from flextier.capacity.account_key import LaneKey


class UnsupportedLanes:
    """Lanes that models do not have, and fields of the body that servers reject."""

    def __init__(self) -> None:
        # A rejected attempt costs nothing, so a lane is worth one even where tables have none.
        self._unsupported: set[LaneKey] = set()
        self._refused_fields: set[tuple[str, str, str]] = set()
        self.version = 0
        """Counts the changes."""

    def mark_unsupported(self, key: LaneKey) -> None:
        """Record that the lane does not support this model ("this model has no flex")."""
        self._unsupported.add(key)
        self.version += 1

    def is_unsupported(self, key: LaneKey) -> bool:
        """Whether the lane is known not to support this model."""
        return key in self._unsupported

    def refuse_field(self, field: str, base_url: str, model: str = "") -> None:
        """Record that a server rejects a field of the body; if only of a model's calls, which."""
        self._refused_fields.add((field, base_url, model))
        self.version += 1

    def takes_field(self, field: str, base_url: str, model: str) -> bool:
        """Whether a server is not known to reject a field of the body."""
        refused = self._refused_fields
        return not refused or refused.isdisjoint(((field, base_url, ""), (field, base_url, model)))

    def keep(self, wheres: Collection[tuple[str, str, str]]) -> None:
        """Drop the lanes of all other models and accounts (base URL, account, model)."""
        self._unsupported = {key for key in list(self._unsupported) if key[:3] in wheres}
        self.version += 1

    def clear(self) -> None:
        """Forget all."""
        self._unsupported, self._refused_fields = set(), set()
        self.version += 1
