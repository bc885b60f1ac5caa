"""Can I have an evaluation judged over night for half the price, and be sure of it by six?"""

import asyncio
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

from flextier import AsyncFlexOpenAI, FlexPolicy
from flextier.costs import record_calls


class Verdict(BaseModel):
    """What the judge is to say of an answer."""

    correct: bool
    reason: str


CASES = [(f"What is {n} times 7?", f"It is {n * 7 + (n % 9 == 0)}.") for n in range(1, 41)]
JOURNAL = Path(tempfile.gettempdir()) / "nightly-evaluation.journal"


def seconds_until(hour: int) -> float:
    """To the next time that the clock says so, at least an hour away."""
    now = datetime.now()
    until = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    while until - now < timedelta(hours=1):
        until += timedelta(days=1)
    return (until - now).total_seconds()


# In the batch until a quarter of an hour before six; what it has not done by then goes to flex,
# and to the standard lane at last. Killed and started again, it pays for nothing twice.
policy = FlexPolicy(
    lanes=("batch", "flex", "standard"),
    deadline=seconds_until(6),
    journal=JOURNAL,
    journal_namespace="rubric 3",  # with another one, everything is judged again
)


async def judge(client: AsyncFlexOpenAI, question: str, answer: str) -> Verdict | None:
    """One verdict; the call is the same as on any other lane."""
    response = await client.responses.parse(
        model="o4-mini",
        instructions="Judge whether the answer is correct.",
        input=f"Question: {question} Answer: {answer}",
        text_format=Verdict,
    )
    return response.output_parsed


async def main() -> None:
    """Ask for all verdicts at once: calls that wait together make one batch."""
    async with AsyncFlexOpenAI(policy=policy) as client:
        with record_calls(tags=["nightly"]) as totals:
            verdicts = await asyncio.gather(*(judge(client, *case) for case in CASES))

    correct = sum(verdict is not None and verdict.correct for verdict in verdicts)
    print(f"{correct} of {len(CASES)} correct")
    for lane, part in totals.by_lane.items():  # "journal": answered by an earlier start, no cost
        print(f"{part.calls:>4} on {lane}: ${part.cost:f}")
    print(f"${totals.cost:f} in all, ${totals.saved:f} saved; ladder {', '.join(policy.lanes)}")


asyncio.run(main())
