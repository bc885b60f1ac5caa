"""Where a price comes from, and when that was last checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flextier.pricing.missing_rates import CUSTOM
from flextier.pricing.price_book import price_book

_OLDEST = date(2024, 1, 1)
"""Files from a wheel without times are older."""


@dataclass(frozen=True, slots=True)
class PriceSource:
    """Where the price of a model on a lane comes from."""

    model: str
    lane: str
    basis: str
    """``"exact"``: listed rates. ``"estimated"``: some follow from a rule. ``"unpriced"``: none."""
    reason: str | None
    """Why it is not exact; None: it is."""
    source: str
    """The list and its entry, in words; empty: none has the model."""
    checked: date | None
    """When the list was checked, fetched or installed; None: unknown."""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return shown | {"checked": None if self.checked is None else self.checked.isoformat()}

    def __str__(self) -> str:
        known = f"price of {self.model} on {self.lane}: {self.basis}"
        return ", ".join(filter(None, (known, self.source, self.reason)))


def source_of(model: str, lane: str) -> PriceSource:
    """Where the price of a model on a lane comes from; never raises."""
    try:
        sheet = price_book().sheet(model=model, lane=lane)
    except ValueError as error:
        return PriceSource(model, lane, "unpriced", str(error), "", None)
    band = sheet.bands[-1]
    reason = "; ".join(filter(None, (band.reason, *band.estimated_parts.values()))) or None
    basis = "unpriced" if band.rates is None else "estimated" if reason else "exact"
    source, checked = _list_of(sheet.priced_as)
    return PriceSource(model, lane, basis, reason, source, checked)


def _list_of(entry: str | None) -> tuple[str, date | None]:
    """The list that has an entry, in words, and the day that it is of."""
    from flextier.pricing import price_list, price_list_additions

    if entry is None or entry == CUSTOM:
        return entry or "", None
    snapshot = price_list.snapshot()
    found = price_list.find_entry(snapshot, entry, None)
    if found is not None and found.info is price_list_additions.MISSING_MODELS.get(found.info.id):
        checked = price_list_additions.CHECKED
        return f"{entry} in flextier's own list, checked {checked}", checked
    if snapshot.from_auto_update:
        fetched = snapshot.timestamp.date()
        return f"{entry} in genai-prices, fetched {fetched}", fetched
    where = f"{entry} in genai-prices {version('genai-prices')}"
    installed = _installed()
    return (where, None) if installed is None else (f"{where}, installed {installed}", installed)


def _installed() -> date | None:
    import genai_prices

    found = Path(genai_prices.__file__).with_name("data.py")
    day = datetime.fromtimestamp(found.stat().st_mtime).date() if found.is_file() else None
    return None if day is None or day < _OLDEST else day
