"""Tools that are built on the OpenAI SDK, run with flextier's clients: `make test-clients`."""
