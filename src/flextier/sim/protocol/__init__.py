"""The two wire formats: Chat Completions and Responses."""
