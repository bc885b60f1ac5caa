"""The journal: a file of requests and their responses, so that nothing is paid for twice."""

from flextier.journal.errors import JournalError, JournalWarning, NewerJournalError
from flextier.journal.journal import Journal
from flextier.journal.open_journals import begin_again, journal_at

__all__ = [
    "Journal",
    "JournalError",
    "JournalWarning",
    "NewerJournalError",
    "begin_again",
    "journal_at",
]
