"""Does structured output work, many at a time? Like ChatOpenAI's, each call with its report."""

import asyncio

from langchain_core.language_models import LanguageModelInput
from pydantic import BaseModel

from flextier.langchain import ChatOpenAIFlex


class Review(BaseModel):
    """What is wanted of a review."""

    product: str
    stars: int
    complaint: str | None


REVIEWS: list[LanguageModelInput] = [
    "The 'kettle' boils fast. 4 stars, but the lid is loose.",
    "Two weeks and the 'lamp' is dead. 1 star.",
    "'Scissors' as they should be. 5 stars.",
]


async def main() -> None:
    """Read all reviews at once."""
    reader = ChatOpenAIFlex(model="o4-mini").with_structured_output(Review, include_raw=True)
    for answer in await reader.abatch(REVIEWS):
        report = answer["raw"].response_metadata["flextier"]
        print(f"{answer['parsed']!r}  [{report['lane']}]")


asyncio.run(main())
