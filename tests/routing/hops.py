"""A program that makes a call twice, and prints the files that the second passes through."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flextier

SOURCE = Path(flextier.__file__).parent


def sdk(base_url: str) -> Callable[[], object]:
    """A call of the SDK."""
    from flextier import FlexOpenAI

    client = FlexOpenAI(base_url=base_url, api_key="x")
    messages: Any = [{"role": "user", "content": "Hi."}]
    return lambda: client.chat.completions.create(model="o4-mini", messages=messages)


def langchain(base_url: str) -> Callable[[], object]:
    """A call of a chat model of LangChain."""
    from flextier.langchain import ChatOpenAIFlex

    model = ChatOpenAIFlex(model="o4-mini", base_url=base_url, api_key="x")
    return lambda: model.invoke("Hi.")


def llama_index(base_url: str) -> Callable[[], object]:
    """A call of an LLM of LlamaIndex."""
    from llama_index.core.llms import ChatMessage

    from flextier.llama_index import OpenAIFlex

    llm = OpenAIFlex(model="o4-mini", api_base=base_url, api_key="x")
    return lambda: llm.chat([ChatMessage(role="user", content="Hi.")])


def files_of(call: Callable[[], object]) -> list[str]:
    """The file of each function of flextier that a call calls, in order."""
    seen: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and SOURCE in file.parents and "sim" not in file.parts:
            seen.append(str(file.relative_to(SOURCE)))

    sys.setprofile(note)
    call()
    sys.setprofile(None)
    return seen


if __name__ == "__main__":
    kinds = {"sdk": sdk, "langchain": langchain, "llama_index": llama_index}
    warmed_up = kinds[sys.argv[1]](sys.argv[2])
    warmed_up()
    sys.stdout.write(json.dumps(files_of(warmed_up)))
