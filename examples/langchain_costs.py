"""What did my chains cost, what did flex save, and who spent it?"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig

from flextier.costs import CostTotals
from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler, get_flex_cost_callback

prompt = ChatPromptTemplate.from_template("Explain {topic} in one sentence.")
chain = prompt | ChatOpenAIFlex(model="o4-mini", max_completion_tokens=500) | StrOutputParser()

costs = FlexCostCallbackHandler(keep_records=1000)
for team, topics in {"sea": ["tides", "foam"], "kitchen": ["yeast"]}.items():
    config: RunnableConfig = {
        "callbacks": [costs],
        "tags": [team],
        "metadata": {"customer": "ACME"},
    }
    chain.batch([{"topic": topic} for topic in topics], config)

print(costs.totals)
for team, sums in costs.totals.by_tag.items():
    print(f"{team}: {sums.calls} calls, ${sums.cost:f}, ${sums.saved:f} saved")

mine = CostTotals(record for record in costs.records if record.metadata["customer"] == "ACME")
print(f"ACME: ${mine.cost:f}, at most ${mine.possibly_billed:f} more for calls that broke off")

with get_flex_cost_callback() as block:  # counts all runs inside, without being passed along
    chain.invoke({"topic": "friction"})
print(f"the last one: ${block.totals.cost:f} on {', '.join(block.totals.by_lane)}")
