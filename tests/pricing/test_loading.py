"""When the price list is loaded: with what will ask for prices, not in the midst of a call."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

MAKERS = {
    "budget": "import flextier\nwith flextier.budget(1): loaded = is_loaded()",
    "client": (
        "import flextier\n"
        "flextier.FlexOpenAI(api_key='k', policy=flextier.FlexPolicy(budget=1))\n"
        "loaded = is_loaded()"
    ),
    "record_calls": (
        "from flextier.costs import record_calls\nwith record_calls(): loaded = is_loaded()"
    ),
    "langchain": (
        "from flextier.langchain import FlexCostCallbackHandler as Handler\n"
        "Handler()\nloaded = is_loaded()"
    ),
    "llama_index events": (
        "from flextier.llama_index import FlexCostEventHandler as Handler\n"
        "Handler()\nloaded = is_loaded()"
    ),
    "llama_index callbacks": (
        "from flextier.llama_index import FlexCostCallback as Callback\n"
        "Callback()\nloaded = is_loaded()"
    ),
    "otel": "from flextier.otel import instrument\ninstrument()\nloaded = is_loaded()",
}
PROGRAM = """
import sys
def is_loaded(): return "genai_prices.data" in sys.modules
{make}
sys.exit(not loaded)
"""


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.sampled(3)
def test_no_call_waits_for_the_price_list(maker: str) -> None:
    """It is there once the handler, the block or the client is."""
    if maker.startswith("llama_index") and importlib.util.find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed: it takes openai<3")
    program = PROGRAM.format(make=MAKERS[maker])
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_client_without_a_budget_needs_no_prices() -> None:
    """It does not load the list."""
    make = "import flextier\nflextier.FlexOpenAI(api_key='k')\nloaded = not is_loaded()"
    program = PROGRAM.format(make=make)
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
