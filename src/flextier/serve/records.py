"""What the calls of a gateway cost: its ledger, the totals since its start, each token's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from flextier.calls.budget import Spending
from flextier.calls.report import CallReport
from flextier.costs.records import record_of
from flextier.costs.totals import CostTotals
from flextier.pricing.price_book import load_price_list
from flextier.serve.tokens import Token

if TYPE_CHECKING:
    from flextier.ledger import Ledger

_MOST_MODELS = 100
OTHER = "(other)"
"""In place of the models after the first hundred: callers may name what they like."""
_KNOB = "the token's budget in the gateway's --token-file"


class Records:
    """Counts the calls of a gateway.

    Args:
        tokens: its callers'.
        ledger: gets a row for each call; None: there is none.
    """

    def __init__(self, tokens: Iterable[Token] = (), ledger: Ledger | None = None) -> None:
        load_price_list()
        self.ledger = ledger
        self.totals = CostTotals()
        """The calls since the start, their only tag that of the token's name."""
        self.waited = 0.0
        """Seconds that calls have waited between attempts."""
        self.elapsed = 0.0
        """Seconds that calls have taken."""
        self.spending = {token.name: Spending(_KNOB) for token in tokens}
        """What the calls of each token with a budget have cost."""

    def add(self, report: CallReport, token: Token | None, tags: tuple[str, ...]) -> None:
        """Count a call, and write it to the ledger with the tags of its token and its own."""
        named = () if token is None else (token.name,)
        record = record_of(report, tags=named)
        if self.ledger is not None:
            of_token = () if token is None else token.tags
            all_tags = tuple(dict.fromkeys((*named, *of_token, *tags)))
            self.ledger.add(replace(record, tags=all_tags))
        known = self.totals.by_model
        if record.model not in known and len(known) >= _MOST_MODELS:
            record = replace(record, model=OTHER)
        self.totals.add(record)
        self.waited += report.waited
        self.elapsed += report.elapsed
