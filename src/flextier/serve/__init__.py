"""``flextier serve``: an OpenAI-compatible gateway, one limiter and budget for many processes."""
