"""The SDK's private names, and what differs between openai 2.x and 3.x."""
