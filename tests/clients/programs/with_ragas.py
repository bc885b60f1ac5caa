"""ragas: metrics with a judge, which it asks through Instructor."""

import random

from common import MODEL, question, run
from ragas.llms import llm_factory
from ragas.metrics import DiscreteMetric
from ragas.metrics.collections import FactualCorrectness, Faithfulness

from flextier import AsyncFlexOpenAI

llm = llm_factory(MODEL, client=AsyncFlexOpenAI())


async def faithfulness(n: int) -> None:
    said = f"Marble {n} is green."
    result = await Faithfulness(llm=llm).ascore(
        user_input=question(n), response=said, retrieved_contexts=[said]
    )
    assert result.value == 1.0, result  # the simulator's verdict of a statement is 1


async def correctness(n: int) -> None:
    said = f"Marble {n} is green."
    result = await FactualCorrectness(llm=llm).ascore(response=said, reference=said)
    assert 0 <= result.value <= 1, result


async def discrete(n: int) -> None:
    chosen = random.Random(n).choice(["excellent", "poor", "fair"])
    metric = DiscreteMetric(
        name="quality", prompt="The answer is {response}: say so.",
        allowed_values=["fair", "poor", "excellent"],
    )  # fmt: skip
    result = await metric.ascore(llm=llm, response=chosen)
    assert result.value == chosen, result


run(faithfulness, correctness, discrete)
