"""What an agent's run costs and takes, by lanes, deadline, model and framework, in one table.

The same agent with three tools, as LangChain's ``create_agent`` and as LlamaIndex's
``FunctionAgent``: it calls the tools, each of which asks the model itself (one of them twice), and
answers: six calls, four deep. It runs on the lanes ("background", "standard") and on "auto", with
deadlines of a call from ten minutes to two days, on a model with flex and on one without.

Against the simulator, over real sockets, on a clock that leaps over waits. How long OpenAI's queues
really are is not public: the simulator's are guesses (see ``WEATHER``).

    python benchmarks/background_agents.py [--framework NAME] [--model NAME] [--at-once N]
                                           [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import product
from pydoc_data.topics import topics
from typing import Any

from _leaping import Leaping
from langchain.agents import create_agent
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, FlexPolicy, track
from flextier.langchain import ChatOpenAIFlex
from flextier.llama_index import OpenAIResponsesFlex
from flextier.planning.auto_plan import span
from flextier.sim import BackgroundWeather, Simulator, Weather
from flextier.transport.http_clients import async_http_client

MODELS = ("gpt-5.5", "gpt-6.2-sol")
"""With flex and without windows; without flex and with windows."""
LANES = (("background", "standard"), ("auto",))
DEADLINES = (600.0, 3 * 3600.0, 10 * 3600.0, 48 * 3600.0)
SPEED = 30.0
"""Seconds in one of ours, while a request is under way."""
WEATHER = Weather(
    refuse=0.1,
    standard_latency=(0.2, 0.6),  # of our seconds: 6 to 18
    flex_latency=(0.3, 1.0),
    background=BackgroundWeather(
        queued_2h=(60, 1800), queued_8h=(300, 7200), seconds=(10, 60), follow_up=0.3
    ),
)
ASKED = "Use summarise, translate and review on 'with'. What came of it?"

Ask = Callable[[str], Awaitable[str]]
Agent = Callable[[str, FlexPolicy, AsyncFlexOpenAI, FlexOpenAI], Awaitable[str]]


# --- the agent, twice -------------------------------------------------------------------------


def tools_of(ask: Ask) -> list[Callable[[str], Awaitable[str]]]:
    """The agent's three tools; ``ask`` asks the model."""

    async def summarise(topic: str) -> str:
        """Summarise a topic of Python's help."""
        return await ask(f"Summarise: {topics[topic]}")

    async def translate(topic: str) -> str:
        """Translate a topic of Python's help into French."""
        return await ask(f"Translate into French: {topics[topic]}")

    async def review(topic: str) -> str:
        """Review a topic of Python's help."""
        draft = await ask(f"What is unclear here? {topics[topic]}")
        return await ask(f"Make this review shorter: {draft} It is of: {topics[topic]}")

    return [summarise, translate, review]


async def langchain(
    model: str, policy: FlexPolicy, client: AsyncFlexOpenAI, sync: FlexOpenAI
) -> str:
    """The agent of LangChain; what it says."""
    llm = ChatOpenAIFlex(
        model=model,
        api_key="sk-not-a-key",
        policy=policy,
        root_client=sync,
        client=sync.chat.completions,
        root_async_client=client,
        async_client=client.chat.completions,
    )

    async def ask(text: str) -> str:
        return str((await llm.ainvoke(text)).text)

    agent = create_agent(llm, [tool(one) for one in tools_of(ask)])
    state = await agent.ainvoke({"messages": [{"role": "user", "content": ASKED}]})
    return str(state["messages"][-1].text)


async def llama_index(
    model: str, policy: FlexPolicy, client: AsyncFlexOpenAI, sync: FlexOpenAI
) -> str:
    """The agent of LlamaIndex, which is a workflow; what it says."""
    llm = OpenAIResponsesFlex(
        model=model,
        api_key="sk-not-a-key",
        policy=policy,
        context_window=400_000,
        openai_client=sync,
        async_openai_client=client,
    )

    async def ask(text: str) -> str:
        return str(await llm.acomplete(text))

    tools: list[Any] = tools_of(ask)
    return str(await FunctionAgent(tools=tools, llm=llm).run(ASKED))


AGENTS: dict[str, Agent] = {"LangChain": langchain, "LlamaIndex": llama_index}


# --- a run ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to."""

    framework: str
    model: str
    lanes: str
    deadline: float
    calls: list[CallReport]
    seconds: float
    """From its start to its answer, on the clock that leaps."""
    follow_ups: int
    """Background responses that the simulator took for follow-ups."""

    @property
    def cost(self) -> Decimal:
        """US$."""
        return sum((call.cost.total or Decimal(0) for call in self.calls), Decimal(0))

    @property
    def standard(self) -> Decimal:
        """What the same tokens would have cost on standard."""
        return sum((call.cost.standard or Decimal(0) for call in self.calls), Decimal(0))

    def row(self) -> tuple[str, ...]:
        """Its line in the table."""
        chosen = Counter(call.lane for call in self.calls)
        return (
            self.framework,
            self.model,
            self.lanes,
            span(self.deadline),
            ", ".join(f"{count} {lane}" for lane, count in chosen.items()),
            str(sum(one.sent for call in self.calls for one in call.attempts)),
            f"{self.cost:.5f}",
            f"{self.standard:.5f}",
            f"{(1 - self.cost / self.standard):.0%}",
            str(timedelta(seconds=round(self.seconds))),
            str(self.follow_ups),
        )


COLUMNS = (
    "framework",
    "model",
    "lanes",
    "deadline",
    "lanes of its calls",
    "sent",
    "cost $",
    "standard $",
    "saved",
    "time",
    "follow-ups",
)


async def run(
    framework: str, model: str, lanes: tuple[str, ...], deadline: float, seed: int
) -> Run:
    """One run of the agent, with a simulator and a clock of its own."""
    leaping = Leaping(SPEED)
    policy = FlexPolicy(lanes=lanes, deadline=deadline)
    with Simulator(WEATHER, seed=seed, clock=leaping.now) as simulator:
        account: dict[str, Any] = {"base_url": simulator.base_url, "api_key": "sk-not-a-key"}
        settings: dict[str, Any] = {**account, "policy": policy, "clock": leaping.clock()}
        http = async_http_client()
        http.event_hooks = leaping.hooks()
        async with AsyncFlexOpenAI(**settings, http_client=http) as client:
            with FlexOpenAI(**settings) as sync, track() as calls:
                async with leaping.going(simulator):
                    began = leaping.now()
                    said = await AGENTS[framework](model, policy, client, sync)
                    seconds = leaping.now() - began
        assert said.startswith("[simulated]"), said
        follow_ups = simulator.stats()["background"]["follow_ups"]
    return Run(framework, model, ", ".join(lanes), deadline, calls, seconds, follow_ups)


async def runs(
    frameworks: Sequence[str], models: Sequence[str], at_once: int, seed: int
) -> list[Run]:
    """All of them, some at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(*kind: Any) -> Run:
        async with room:
            return await run(*kind, seed)

    kinds = product(frameworks, models, LANES, DEADLINES)
    return await asyncio.gather(*(one(*kind) for kind in kinds))


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line names; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--framework", choices=tuple(AGENTS), help="one of them alone")
    parser.add_argument("--model", choices=MODELS, help="one of them alone")
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="runs at a time")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the weather")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message=".*not in LlamaIndex's table.*")
    frameworks = [options.framework] if options.framework else list(AGENTS)
    models = [options.model] if options.model else list(MODELS)
    found = asyncio.run(runs(frameworks, models, options.at_once, options.seed))
    print("\n".join(table([COLUMNS, *(one.row() for one in found)])))


if __name__ == "__main__":
    main()
