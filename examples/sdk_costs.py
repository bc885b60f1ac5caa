"""I use the OpenAI SDK alone: what did a call cost, what did all of them, and can I cap it?"""

from flextier import BudgetExceeded, FlexOpenAI, budget, track
from flextier.costs import CallRecord, record_calls

client = FlexOpenAI()


def ask(text: str) -> str:
    """Ask one question."""
    answer = client.responses.create(model="o4-mini", input=text, max_output_tokens=500)
    return answer.output_text


# One call: its report knows the cost, and what the same would have cost on standard.
with track() as calls:
    ask("Name a colour.")
cost = calls[-1].cost
print(f"{calls[-1].lane}: ${cost.total:f} instead of ${cost.standard:f} ({cost.basis})")

# Many calls: all inside the block count, failed ones included; the tags are yours.
records: list[CallRecord] = []
with record_calls(records.append, tags=("colours",)) as totals:
    for shade in ("red", "green", "blue"):
        ask(f"Describe {shade}.")
    client.chat.completions.create(
        model="o4-mini", messages=[{"role": "user", "content": "And which is the warmest?"}]
    )
print(totals)
dearest = max(records, key=lambda record: record.cost.total or 0)
print(f"the dearest: {dearest.call_id}, ${dearest.cost.total:f}, {dearest.waited:.1f} s waited")

# A cap in US$: checked before each call, so the one that goes over it is still finished.
with budget("0.0005") as spending:
    number = 0
    try:
        for number in range(1000):
            ask(f"Name colour number {number}.")
    except BudgetExceeded as error:
        print(f"stopped after {number} calls: {error}")
print(f"spent ${spending.spent:f} inside the block")
