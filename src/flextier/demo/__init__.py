"""The demo: LangChain and LlamaIndex at work on the flex lane, in bad weather."""
