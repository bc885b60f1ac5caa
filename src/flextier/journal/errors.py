"""What goes wrong with a journal."""

from __future__ import annotations

import openai


class JournalError(openai.OpenAIError):
    """The journal cannot be used: the call was not made, and nothing was sent."""


class NewerJournalError(JournalError):
    """A later flextier made the journal. It is left as it is."""


class JournalWarning(UserWarning):
    """An answer could not be written into the journal; it was handed over all the same."""
