"""Can a LangChain chain go through the Batch API as it is, structured output included?"""

import asyncio
from collections import Counter

from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from flextier import FlexPolicy, track
from flextier.langchain import ChatOpenAIFlex


class Review(BaseModel):
    """What is wanted of a review."""

    product: str
    stars: int
    complaint: str | None


LADDER = ("batch", "flex", "standard")
PRODUCTS = ("kettle", "lamp", "scissors", "toaster", "umbrella")
REVIEWS = [
    {"review": f"The '{name}' broke on day {n}. 1 star."} for n in (2, 9) for name in PRODUCTS
]

prompt = ChatPromptTemplate.from_template("What does this review say? {review}")
model = ChatOpenAIFlex(model="o4-mini", policy=FlexPolicy(lanes=LADDER))
chain = prompt | model.with_structured_output(Review)

with track() as calls:
    # Not chain.batch(): that is a few threads, and as many calls in a file of the Batch API.
    reviews = asyncio.run(chain.abatch(REVIEWS))

for review in reviews:
    print(f"{review!r}")
lanes = Counter(call.lane for call in calls)
saved = sum(call.cost.saved or 0 for call in calls)
print(f"ladder {', '.join(LADDER)}: billed {dict(lanes)}, ${saved:f} saved")
