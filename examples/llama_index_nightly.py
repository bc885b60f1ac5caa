"""Can LlamaIndex ingest and evaluate over night for half the price, and go on after a crash?"""

import asyncio
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from llama_index.core import Document
from llama_index.core.evaluation import AnswerRelevancyEvaluator, BatchEvalRunner
from llama_index.core.extractors import QuestionsAnsweredExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter

from flextier.llama_index import FlexCostEventHandler, OpenAIFlex

NAMES = ("assert", "break", "continue", "del", "global", "import", "lambda", "pass", "raise")

# Each of the three rounds has two hours: in a batch, then on flex, on standard at last. The journal
# has the responses and the ids of pending batches: started again, the program pays nothing twice.
llm = OpenAIFlex(
    model="o4-mini",
    policy={
        "lanes": ("batch", "flex", "standard"),
        "deadline": "2h",
        "journal": Path(tempfile.gettempdir()) / "llama-index-nightly.journal",
    },
)


async def questions() -> list[str]:
    """Ask a question about each document; all calls run at once, in one batch."""
    pipeline = IngestionPipeline(
        transformations=[
            TokenTextSplitter(chunk_size=2048),
            QuestionsAnsweredExtractor(llm=llm, questions=1, num_workers=1000),
        ]
    )
    nodes = await pipeline.arun(documents=[Document(text=topics[name]) for name in NAMES])
    return [node.metadata["questions_this_excerpt_can_answer"] for node in nodes]


async def main() -> None:
    """Generate questions, answer them, and judge the answers."""
    with FlexCostEventHandler() as costs:
        asked = await questions()
        answers = await asyncio.gather(*(llm.acomplete(question) for question in asked))
        runner = BatchEvalRunner(
            {"relevant": AnswerRelevancyEvaluator(llm=llm)}, workers=len(asked)
        )
        verdicts = await runner.aevaluate_response_strs(
            queries=asked, response_strs=[answer.text for answer in answers]
        )
    print(f"{len(asked)} questions, {len(verdicts['relevant'])} verdicts")
    for lane, part in costs.totals.by_lane.items():  # "journal": answered by an earlier start
        print(f"{part.calls:>4} on {lane}: ${part.cost:f}")
    print(f"${costs.totals.saved:f} saved; ladder {', '.join(llm.policy.lanes)}")


asyncio.run(main())
