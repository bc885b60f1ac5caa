"""Does a LlamaIndex agent with tools work, and can I watch the retries and fallbacks?"""

import asyncio
from pydoc_data.topics import topics
from typing import Any

from llama_index.core import SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.schema import TextNode
from llama_index_instrumentation import get_dispatcher

from flextier import track
from flextier.llama_index import FlexFallbackEvent, FlexRetryEvent, OpenAIFlex

llm = OpenAIFlex(model="o4-mini")


class Watch(BaseEventHandler):
    """Prints what happens to the calls while they wait."""

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Receive every event; print two kinds."""
        if isinstance(event, FlexRetryEvent):
            print(f"  {event.failed_lane}: {event.reason}, {event.lane} in {event.wait:.1f} s")
        elif isinstance(event, FlexFallbackEvent):
            print(f"  fell back to {event.lane}: {event.reason}")


async def summarise(topic: str) -> str:
    """Summarise a topic of Python's help."""
    index = SummaryIndex([TextNode(text=topics[topic])])
    return str(await index.as_query_engine(llm=llm).aquery("What is this about?"))


def count_words(topic: str) -> int:
    """Count the words of a topic of Python's help."""
    return len(topics[topic].split())


async def main() -> None:
    """Give the agent a task, and print what each of its calls went through."""
    get_dispatcher().add_event_handler(Watch())
    agent = FunctionAgent(tools=[summarise, count_words], llm=llm)
    with track() as calls:
        task = "Use summarise and count_words on 'lambda'. What did they say?"
        answer: Any = await agent.run(task)
    for used in answer.tool_calls:
        print(f"{used.tool_name}({used.tool_kwargs}) -> {used.tool_output.content}")
    print(answer)
    for call in calls:
        print(f"  billed on {call.lane}, {len(call.attempts)} attempts, fallback: {call.fallback}")


asyncio.run(main())
