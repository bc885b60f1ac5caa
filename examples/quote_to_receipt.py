"""What is an evaluation over night going to cost, and what was paid in the end?"""

import json
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flextier import AsyncFlexOpenAI, quote
from flextier.bulk import run

LANES = ("batch", "flex", "standard")


class Verdict(BaseModel):
    """What the judge is to say of an answer."""

    correct: bool
    reason: str


place = Path(tempfile.mkdtemp())
cases = place / "cases.jsonl"
with cases.open("w") as file:
    for n in range(1, 41):
        case = {"id": n, "question": f"What is {n} times 7?", "answer": f"It is {n * 7}."}
        file.write(json.dumps(case) + "\n")

client = AsyncFlexOpenAI()


async def judge(case: dict[str, Any]) -> Verdict | None:
    """One verdict."""
    response = await client.responses.parse(
        model="o4-mini",
        instructions="Judge whether the answer is correct.",
        input=f"Question: {case['question']} Answer: {case['answer']}",
        text_format=Verdict,
    )
    return response.output_parsed


# Nothing is sent for it: the calls are made on a sample of the rows, and answered here.
# The same from the command line: flextier run my_module:judge cases.jsonl verdicts.jsonl --quote
quoted = quote(judge, cases, {"lanes": LANES}, output_tokens=230)
print(quoted, end="\n\n")
if quoted.high is None or quoted.high > 1:
    raise SystemExit("that is too much, at the worst")

# With the machine off: flextier run … --submit in the evening, … --collect in the morning.
result = run(
    judge,
    cases,
    place / "verdicts.jsonl",
    key="id",
    lanes=LANES,
    deadline="8h",
    quoted=quoted,
    receipt=place / "receipt.json",
)
print(f"{result.done} of {result.rows} verdicts")
print(result.receipt)
print("within the quote:", json.loads((place / "receipt.json").read_text())["within_quote"])
