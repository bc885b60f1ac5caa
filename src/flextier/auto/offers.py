"""What a model is sold on: which lanes beside standard, and how that is known.

In this order: what the user says (``FlexPolicy.offers``), what OpenAI says of models that the price
list does not have, the rates in the price list. Of a model that none of them knows, flex and batch
are taken to be worth a try: who is refused is told so at once, and it is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

OFFERED = ("batch", "flex", "background")
"""What can be named in an offer; standard always is."""

_WORDS = {"batch": "batch", "flex": "flex", "background": "completion windows"}


@dataclass(frozen=True, slots=True)
class Offer:
    """The lanes of a model."""

    lanes: frozenset[str]
    source: str
    """How that is known, in words; empty: it is not, these are worth a try."""
    names_windows: bool = True
    """Whether that source would say so if the model had completion windows."""

    def lacks(self, name: str, model: str) -> str:
        """Why ``"batch"``, ``"flex"`` or ``"background"`` is not for the model; empty: it is."""
        if name in self.lanes:
            return ""
        if not self.source or (name == "background" and not self.names_windows):
            return f"whether {model} has {_WORDS[name]} is not known (FlexPolicy.offers)"
        return f"{model} has no {_WORDS[name]}, by {self.source}"


def read_offer(told: str) -> tuple[str, frozenset[str]]:
    """A pattern and its lanes, of ``"gpt-7*=batch+background"``.

    Raises:
        ValueError: it is no such thing.
    """
    pattern, equals, names = told.partition("=")
    lanes = frozenset(name.strip() for name in names.split("+") if name.strip())
    if not pattern.strip() or not equals or lanes - set(OFFERED):
        raise ValueError(
            f"{told!r} is no offer such as 'gpt-7*=batch+background': a model or a shell pattern, "
            f"and its lanes, of {', '.join(OFFERED)}"
        )
    return pattern.strip(), lanes


_GPT = re.compile(r"(?:openai/)?gpt-(\d+)(?:\.(\d+))?(?:-|$)")
_FIRST_WITHOUT_FLEX = (6, 2)

# https://developers.openai.com/api/docs/guides/flex-processing: GPT-6.2 and later have no flex, and
# background windows instead; https://developers.openai.com/api/docs/models/gpt-6.2-sol: Batch, too.
_SINCE_6_2 = Offer(frozenset({"batch", "background"}), "OpenAI's flex guide, GPT-6.2 and later")

_NAMED: dict[str, Offer] = {
    "gpt-6.1-terra": Offer(
        frozenset({"batch", "flex", "background"}),
        "https://developers.openai.com/api/docs/models/gpt-6.1-terra",
    ),
}
"""Models whose pages name windows. Pages of other models before GPT-6.2 do not, or could not be
seen: whether these have any is not known."""


def offer_of(model: str, told: Sequence[str] = ()) -> Offer:
    """What a model is sold on.

    Args:
        model: its name.
        told: the user's own offers; the first pattern that fits counts.
    """
    for one in told:
        pattern, lanes = read_offer(one)
        if fnmatchcase(model, pattern):
            return Offer(lanes, f"FlexPolicy.offers: {one}")
    return _known(model)


@lru_cache(maxsize=256)
def _known(model: str) -> Offer:
    return _told(model) or _listed(model)


def _told(model: str) -> Offer | None:
    """What OpenAI says of models that the price list does not have, or not all of."""
    bare = model.removeprefix("openai/")
    version = _GPT.match(model)
    if version is not None and (int(version[1]), int(version[2] or 0)) >= _FIRST_WITHOUT_FLEX:
        return _SINCE_6_2
    return _NAMED.get(bare)


def needs_windows(model: str, told: Sequence[str] = ()) -> bool:
    """Whether a model has windows and no flex: without the Responses API it has no discount at
    once. The price list is not loaded for that."""
    own = next((x for x in map(read_offer, told) if fnmatchcase(model, x[0])), None)
    offer = _told(model) if own is None else Offer(own[1], "")
    return offer is not None and "background" in offer.lanes and "flex" not in offer.lanes


def _listed(model: str) -> Offer:
    from flextier.costs import catalogue
    from flextier.costs.terms import TERMS

    listing = catalogue.find(catalogue.snapshot(), model, None)
    if listing is None:
        return Offer(frozenset({"batch", "flex"}), "")
    found = {
        name for name in ("batch", "flex") if listing.tier_since(TERMS[name].context) is not None
    }
    return Offer(frozenset(found), f"the price list's entry {listing.name}", names_windows=False)
