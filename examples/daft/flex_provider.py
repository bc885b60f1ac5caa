"""A provider for Daft: prompt() asks every row on flex.

pip install "flextier[aiohttp]" daft "numpy<2.4"  # the extra daft[openai] pins an older openai
"""

from dataclasses import dataclass
from typing import Any

import daft
from daft.ai.openai.protocols.prompter import OpenAIPrompter, OpenAIPrompterDescriptor
from daft.ai.openai.provider import OpenAIProvider
from daft.functions import prompt

from flextier import AsyncFlexOpenAI
from flextier.costs import record_calls


@dataclass
class FlexPrompterDescriptor(OpenAIPrompterDescriptor):
    """Makes Daft's prompter where the rows are, with flextier's client in place of its own."""

    def instantiate(self) -> OpenAIPrompter:
        prompter = super().instantiate()
        # FLEXTIER_* variables set its policy, which the workers of a cluster need, too.
        prompter.llm = AsyncFlexOpenAI(**self.provider_options)
        return prompter


class FlexProvider(OpenAIProvider):
    """Daft's provider for OpenAI, on the lanes of flextier."""

    def get_prompter(self, *args: Any, **options: Any) -> FlexPrompterDescriptor:
        return FlexPrompterDescriptor(**vars(super().get_prompter(*args, **options)))


if __name__ == "__main__":
    rows = daft.from_pydict({"text": [f"Marble {number} is green." for number in range(100)]})
    answer = prompt(rows["text"], provider=FlexProvider(), model="o4-mini")

    with record_calls(scope="process") as costs:
        answered = rows.with_column("answer", answer).to_pydict()["answer"]

    print(answered[7])
    print(costs)
