"""What did my query engines cost, what did flex save, and who spent it?"""

from pydoc_data.topics import topics

from llama_index.core import SummaryIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import StreamingResponse
from llama_index.core.schema import TextNode
from llama_index_instrumentation.dispatcher import instrument_tags

from flextier.costs import CallRecord, CostTotals
from flextier.llama_index import FlexCostEventHandler, OpenAIFlex

llm = OpenAIFlex(model="o4-mini", max_tokens=500)


def engine(topic: str, **options: bool) -> BaseQueryEngine:
    """A query engine over a topic of Python's help."""
    return SummaryIndex([TextNode(text=topics[topic])]).as_query_engine(llm=llm, **options)


records: list[CallRecord] = []
with FlexCostEventHandler(on_record=records.append) as costs:  # counts every call inside
    for team, topic in (("search", "assert"), ("search", "lambda"), ("support", "with")):
        with instrument_tags({"team": team, "customer": "ACME"}):
            engine(topic).query("What is this about?")
    answer = engine("async", streaming=True).query("And this?")
    if isinstance(answer, StreamingResponse):
        for text in answer.response_gen:
            print(text, end="")

print(f"\n{costs.totals}")
for tag, sums in costs.totals.by_tag.items():
    print(f"{tag}: {sums.calls} calls, ${sums.cost:f}, ${sums.saved:f} saved")

mine = CostTotals(record for record in records if record.metadata.get("team") == "search")
print(f"search: ${mine.cost:f} on {', '.join(mine.by_lane)}, {mine.refusals} refusals")
