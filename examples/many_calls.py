"""Hundreds of calls at once, all to be done in ten minutes: do they get in each other's way?"""

import asyncio
from collections import Counter

from flextier import AsyncFlexOpenAI, FlexPolicy, capacity_snapshot, track


async def main() -> None:
    """Ask everything at once: the calls take turns by themselves, no semaphore is needed."""
    async with AsyncFlexOpenAI(policy=FlexPolicy(deadline=600)) as client:
        await asyncio.gather(
            *(
                client.responses.create(model="o4-mini", input=f"Is {number} a prime? yes or no")
                for number in range(100, 300)
            )
        )


with track() as calls:
    asyncio.run(main())

lanes = Counter(call.lane for call in calls)
requests = sum(len(call.attempts) for call in calls)
print(f"{len(calls)} answers by {dict(lanes)}, {requests} requests")
print(f"the longest took {max(call.elapsed for call in calls):.1f} s")
for lane in capacity_snapshot():
    print(f"{lane.model} on {lane.lane}: {lane.state}, {lane.refused} refused")
