"""``flextier demo``: LangChain and LlamaIndex at work on the flex lane, in bad weather."""

from flextier.demo.command import add_arguments, run

__all__ = ["add_arguments", "run"]
