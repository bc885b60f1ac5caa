"""Does an agent with tools still work, and what did each step go through?"""

from langchain.agents import create_agent
from langchain_core.tools import tool

from flextier.langchain import ChatOpenAIFlex


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"14 °C and drizzle in {city}"


@tool
def umbrella_price(city: str) -> str:
    """What an umbrella costs in a city."""
    return f"12 euros in {city}"


agent = create_agent(ChatOpenAIFlex(model="o4-mini"), [weather, umbrella_price])
state = agent.invoke({"messages": [{"role": "user", "content": "The weather in 'Bergen'?"}]})

for message in state["messages"]:
    message.pretty_print()
    report = message.response_metadata.get("flextier")
    if report:
        print(f"  ({report['lane']}, {len(report['attempts'])} attempts)")
