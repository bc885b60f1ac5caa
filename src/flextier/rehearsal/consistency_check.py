"""The cross-check of a rehearsal: what calls reported is what the provider counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flextier.calls.report import CANCELLED, CallReport
from flextier.lanes import tier_lane
from flextier.rehearsal.provider import ProviderCounts


class MiscountError(RuntimeError):
    """The client's reports and the provider's counts differ: a bug in flextier."""


def check(reports: Iterable[CallReport], counts: ProviderCounts) -> None:
    """Compare the two accounts of a rehearsal.

    Raises:
        MiscountError: They differ; the message says in what.
    """
    calls = list(reports)
    outcomes = Counter(attempt.outcome for call in calls for attempt in call.attempts)
    served = Counter({tier_lane(tier).name: n for tier, n in counts.served.items()})
    pairs = {
        "requests": (outcomes.total(), counts.requests),
        "refusals": (outcomes["capacity"], counts.refusals),
        "rate limits": (outcomes["rate_limited"], counts.rate_limited),
        "given up": (outcomes["timeout"] + outcomes[CANCELLED], counts.abandoned),
        "served": (Counter(call.lane for call in calls if call.served), served),
    }
    wrong = [
        f"{what}: {ours} and {theirs}" for what, (ours, theirs) in pairs.items() if ours != theirs
    ]
    if wrong:
        raise MiscountError(f"calls reported, and the provider counted, {'; '.join(wrong)}")
