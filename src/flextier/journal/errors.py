"""The errors and the warning of the journal."""

from __future__ import annotations

import openai


class JournalError(openai.OpenAIError):
    """The journal cannot be used; a call that raises this was not sent."""


class NewerJournalError(JournalError):
    """A newer flextier wrote the journal, which is left unchanged."""


class JournalWarning(UserWarning):
    """A response could not be written to the journal; the caller got it all the same."""
