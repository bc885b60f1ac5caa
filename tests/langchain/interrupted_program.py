"""A program that runs the lines of its input; Ctrl-C ends a line, or at last the program."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.prompts import ChatPromptTemplate

from flextier.langchain import ChatOpenAIFlex


class Announce(BaseCallbackHandler):
    """Prints a line when a call begins to wait."""

    def on_retry(self, *args: Any, **kwargs: Any) -> None:
        """Print it."""
        sys.stdout.write("waits\n")


def main() -> None:
    """Read and run them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
    inputs = [{"thing": thing} for thing in ("colour", "tree", "river", "town")]
    for number, line in enumerate(sys.stdin):
        model = ChatOpenAIFlex(
            model="o3",
            base_url=sys.argv[1],
            api_key=f"account {number}",
            max_retries=0,
            policy={"patience": 20},
            callbacks=[Announce()],
        )
        chain = ChatPromptTemplate.from_template("Name a {thing}.") | model
        names = {"model": model, "chain": chain, "inputs": inputs, "pool": ThreadPoolExecutor()}
        try:
            exec(line, names)
        except KeyboardInterrupt:
            is_restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            sys.stdout.write(f"interrupted {is_restored}\n")
        else:
            sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
