"""The journal: what was sent, where, and what was answered, so that nothing is paid for twice."""

from flextier.journal.errors import JournalError, JournalWarning, NewerJournalError
from flextier.journal.journal import Journal, journal_at

__all__ = ["Journal", "JournalError", "JournalWarning", "NewerJournalError", "journal_at"]
