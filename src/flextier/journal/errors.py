"""The errors and the warning of the journal."""

from __future__ import annotations

from flextier._openai import public_names as openai
from flextier._utils.sqlite_file import is_damaged, is_locked


class JournalError(openai.OpenAIError):
    """The journal cannot be used; a call that raises this was not sent."""


class JournalLocked(JournalError):
    """Another process holds the journal's lock."""


class NewerJournalError(JournalError):
    """A newer flextier wrote the journal, which is left unchanged."""


class JournalWarning(UserWarning):
    """A response could not be written to the journal; the caller got it all the same."""


def named(path: str) -> str:
    """How messages name a journal."""
    return f"the journal {path} (FlexPolicy.journal, FLEXTIER_JOURNAL)"


def journal_error(path: str, error: Exception, done: str = "used") -> JournalError:
    """The error for one of SQLite's, with what to do about it; ``done`` is what cannot be done."""
    if is_locked(error):
        return JournalLocked(
            f"{named(path)} is locked by another process: end what has a transaction open in it "
            "(a SQLite shell, a backup), or use another file"
        )
    if is_damaged(error):
        return JournalError(
            f"{named(path)} is damaged, or no journal ({error}): move it and the files {path}-* "
            "away; a new journal is created, and its calls are sent again"
        )
    return JournalError(f"{named(path)} cannot be {done}: {error}")
