"""My model has no flex: can an unattended agent still cost less, and survive a crash?"""

import tempfile
from pathlib import Path

from langchain.agents import create_agent
from langchain_core.tools import tool

from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler

JOURNAL = Path(tempfile.gettempdir()) / "background-agent.journal"


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"14 °C and drizzle in {city}"


@tool
def umbrella_price(city: str) -> str:
    """What an umbrella costs in a city."""
    return f"12 euros in {city}"


# Each step may take ten hours: that leaves room for a window of eight, at 40 % below standard.
# Killed and started again, the agent finds the responses that are running, and those it had.
llm = ChatOpenAIFlex(
    model="gpt-6.2-sol",
    policy={"lanes": "auto", "deadline": 10 * 3600, "journal": JOURNAL},
)
agent = create_agent(llm, [weather, umbrella_price])
costs = FlexCostCallbackHandler()
state = agent.invoke(
    {"messages": [{"role": "user", "content": "The weather in 'Bergen'?"}]},
    {"callbacks": [costs]},
)

for message in state["messages"]:
    report = message.response_metadata.get("flextier")
    print(f"{message.type}: {message.text}")
    if report:
        print(f"  on {report['lane']} ({report['why']})")
print(f"${costs.totals.cost:f}, ${costs.totals.saved:f} less than on standard")
