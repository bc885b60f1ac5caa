"""The tools: what is installed for each, and how it gets our client."""

from __future__ import annotations

from dataclasses import dataclass

BUILDS_ITS_OWN = (
    "builds its own: [`flextier exec`, `flextier.install()`](how-to/programs-you-cannot-edit.md)"
)

REPOSITORY = "https://github.com/flextier/flextier/blob/main"
STREAMS = "its own count leaves out streams, for which it does not ask for usage"


@dataclass(frozen=True)
class Tool:
    """A tool, whose program is ``programs/<name>.py``."""

    name: str
    """Its program, with ``_`` for ``-``, and its environment."""
    title: str
    """As its makers write it."""
    requirements: tuple[str, ...]
    """Pinned; the first one is the tool itself."""
    client: str
    """How it gets our client."""
    remark: str = ""
    extra: str = "aiohttp"
    """Of flextier."""

    @property
    def program(self) -> str:
        """The file name of its program, which must not hide the package that it imports."""
        return f"with_{self.name.replace('-', '_')}.py"


TOOLS = (
    Tool(
        "openai-agents",
        "OpenAI Agents SDK",
        ("openai-agents==0.24.0",),
        "`set_default_openai_client(AsyncFlexOpenAI())`",
    ),
    Tool(
        "pydantic-ai",
        "pydantic-ai",
        ("pydantic-ai-slim[openai]==2.68.0",),
        "`OpenAIProvider(openai_client=AsyncFlexOpenAI())`",
    ),
    Tool(
        "instructor",
        "Instructor",
        ("instructor==1.17.0",),
        "`instructor.from_openai(FlexOpenAI())`, and `AsyncFlexOpenAI`",
    ),
    Tool(
        "dspy",
        "DSPy",
        ("dspy==3.4.1",),
        BUILDS_ITS_OWN,
        'with `dspy.LM(engine="litellm")`: its own engine speaks HTTP without the SDK',
    ),
    Tool(
        "inspect-ai",
        "inspect-ai",
        ("inspect-ai==0.3.285",),
        BUILDS_ITS_OWN,
        "its own count leaves out the request with which it probes for reasoning summaries",
    ),
    Tool(
        "haystack",
        "Haystack",
        ("haystack-ai==3.4.1",),
        "`OpenAIChatGenerator.client = FlexOpenAI()`",
    ),
    Tool(
        "autogen",
        "AutoGen",
        ("autogen-agentchat==0.7.5", "autogen-ext[openai]==0.7.5"),
        "`BaseOpenAIChatCompletionClient(AsyncFlexOpenAI(), …)`",
        remark=STREAMS,
    ),
    Tool("crewai", "CrewAI", ("crewai==1.15.30",), BUILDS_ITS_OWN),
    Tool("smolagents", "smolagents", ("smolagents[openai]==1.26.0",), BUILDS_ITS_OWN),
    Tool(
        "litellm",
        "LiteLLM",
        ("litellm==1.110.2",),
        "`completion(client=FlexOpenAI())`, `acompletion(client=AsyncFlexOpenAI())`",
    ),
    Tool(
        "ragas",
        "ragas",
        ("ragas==0.4.3", "langchain-community==0.4.1"),
        "`llm_factory(…, client=AsyncFlexOpenAI())`",
    ),
    Tool("deepeval", "DeepEval", ("deepeval==4.3.1",), BUILDS_ITS_OWN),
    Tool(
        "langchain",
        "LangChain, LangGraph",
        ("langchain==1.5.2", "langgraph==1.2.24"),
        "`create_agent(ChatOpenAIFlex(…))`, and in a graph's node",
        extra="aiohttp,langchain",
        remark="its own count leaves out streams, as `ChatOpenAI` with `OPENAI_BASE_URL` does",
    ),
    Tool(
        "deepagents",
        "deepagents",
        ("deepagents==0.7.32",),
        "`create_deep_agent(model=ChatOpenAIFlex(…))`",
        extra="aiohttp,langchain",
        remark="its own prices have no lanes",
    ),
    Tool(
        "guardrails",
        "Guardrails",
        ("guardrails-ai==0.11.0",),
        "`guard(client=FlexOpenAI())`, handed on to LiteLLM; or a function that calls it",
    ),
    Tool(
        "outlines",
        "outlines",
        ("outlines[openai]==1.3.3",),
        "`outlines.from_openai(FlexOpenAI(), …)`",
    ),
    Tool("mem0", "mem0", ("mem0ai==2.2.1",), BUILDS_ITS_OWN),
    Tool(
        "semantic-kernel",
        "Semantic Kernel",
        ("semantic-kernel==1.45.0",),
        "`OpenAIChatCompletion(async_client=AsyncFlexOpenAI())`",
        remark=STREAMS,
    ),
    Tool("magentic", "magentic", ("magentic==0.41.1",), BUILDS_ITS_OWN),
    Tool("mirascope", "Mirascope", ("mirascope[openai]==2.8.2",), BUILDS_ITS_OWN),
    Tool(
        "agno",
        "Agno",
        ("agno==3.1.10",),
        "`OpenAIChat(async_client=AsyncFlexOpenAI())`, `OpenAIResponses`",
    ),
    Tool(
        "openevals",
        "openevals",
        ("openevals==0.2.2",),
        "`create_llm_as_judge(judge=FlexOpenAI())`, or `ChatOpenAIFlex`",
        extra="aiohttp,langchain",
    ),
    Tool(
        "autoevals",
        "autoevals",
        ("autoevals==0.4.1",),
        "`Factuality(client=FlexOpenAI())`, `LLMClassifier`",
        "`init(client)` holds for its own thread only: others build a stock client",
    ),
    Tool(
        "agent-framework",
        "Microsoft Agent Framework",
        ("agent-framework-core==1.23.0", "agent-framework-openai==1.17.0"),
        "`OpenAIChatClient(async_client=AsyncFlexOpenAI())`",
    ),
    Tool(
        "daft",
        "Daft",
        ("daft==0.7.26", "numpy==2.3.5"),
        f"a provider for `prompt()`: [an example]({REPOSITORY}/examples/daft/flex_provider.py)",
        remark="its extra `openai` pins openai<2.39, so it is left out",
    ),
    Tool(
        "graphiti",
        "Graphiti",
        ("graphiti-core==0.31.2", "httpx==0.28.1"),
        "`OpenAIClient(client=AsyncFlexOpenAI())`",
    ),
)
