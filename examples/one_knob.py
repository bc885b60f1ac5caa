"""Can the deadline pick the lane, and can I see why?"""

from flextier import FlexOpenAI, FlexPolicy, override, track
from flextier.auto import explain

HOUR = 3600

# What would be tried, before anything is sent; `flextier explain` prints it as a table.
for model in ("o4-mini", "gpt-6.2-sol"):
    for hours in (0.1, 3, 10):
        plan = explain(model, deadline=hours * HOUR)
        print(f"{model}, {hours} h: {', '.join(lane.name for lane in plan.lanes)}")

client = FlexOpenAI(policy=FlexPolicy(lanes="auto", deadline=10 * 60))
with track() as calls:
    client.responses.create(model="o4-mini", input="Name a colour.")
    with override(deadline=3 * HOUR):  # this one can wait
        client.responses.create(model="gpt-6.2-sol", input="Name a colour.")

for call in calls:
    print(f"\n{call.model} on {call.lane}, {call.elapsed:.1f} s")
    print(f"  {call.why}")
