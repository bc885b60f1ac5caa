"""Where a ledger is: a SQLite file or a PostgreSQL database, and how messages name it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flextier.ledger.errors import LedgerError

_KINDS = ("sqlite", "postgresql")
_EFFECTIVE_IDS = os.access in os.supports_effective_ids


@dataclass(frozen=True, slots=True)
class LedgerUrl:
    """Where a ledger is."""

    url: URL
    path: Path | None
    """The absolute path of the SQLite file. None: PostgreSQL."""
    shown: str
    """Its name in messages: without password and options, which may hold one."""

    @classmethod
    def read(cls, given: str | os.PathLike[str] | URL) -> LedgerUrl:
        """The address for a URL of SQLAlchemy or the path of a file.

        Raises:
            ValueError: it is neither a SQLite file nor a PostgreSQL database.
        """
        url = _url(given)
        kind = url.get_backend_name()
        if kind not in _KINDS:
            raise ValueError(f"a ledger is kept in sqlite or postgresql, not in {kind}")
        if kind == "postgresql":
            if url.drivername == "postgresql" and find_spec("psycopg") is not None:
                url = url.set(drivername="postgresql+psycopg")
            place = f"{url.host or ''}{'' if url.port is None else f':{url.port}'}"
            return cls(url, None, f"postgresql://{place}/{url.database or ''}")
        path = _file(url)
        # A URI with mode=rw: SQLite must not create the file, as others could read it then.
        url = url.set(
            database=f"file:{quote(str(path))}",
            query={**url.query, "uri": "true", "mode": "rw"},
        )
        return cls(url, path, f"sqlite:///{path}")

    def redacted(self, message: str) -> str:
        """A message of the driver, with passwords replaced by asterisks."""
        secrets = [self.url.password, *map(str, self.url.normalized_query.get("password", ()))]
        for secret in filter(None, secrets):
            message = message.replace(secret, "***")
        return message

    def file_state(self) -> os.stat_result | None:
        """Inode, size and times of the SQLite file; None: there is none."""
        try:
            return None if self.path is None else self.path.stat()
        except FileNotFoundError:
            return None

    def log_size(self) -> int | None:
        """Bytes of the write-ahead log beside the SQLite file; None: there is none."""
        try:
            return None if self.path is None else self._log.stat().st_size
        except OSError:  # or SQLite will report why it cannot be read
            return None

    @property
    def _log(self) -> Path:
        assert self.path is not None
        real = self.path.resolve()  # SQLite follows links, too
        return real.with_name(f"{real.name}-wal")

    def permission_hint(self, message: str) -> str:
        """The permission that SQLite's message asks for, as the end of a sentence, or empty."""
        if self.path is None or not re.search("readonly database|unable to open", message):
            return ""
        if not os.access(self.path, os.R_OK, effective_ids=_EFFECTIVE_IDS):
            return ": this user may not read the file"
        if self.log_size():
            return (
                f": its newest records are in {self._log.name}, which needs shared memory beside "
                f"it: close the ledger in the programs that write it, or let this user read -wal "
                f"and -shm, or write to {self._log.parent}"
            )
        return ""

    def create_file(self) -> None:
        """Create the SQLite file, if it does not exist, with mode 0600.

        SQLite gives the files beside it, ``-wal`` and ``-shm``, the same mode.

        Raises:
            LedgerError: it cannot be created.
        """
        if self.path is None:
            return
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if not self.path.is_file():  # SQLite would create a journal beside a device
                raise LedgerError(f"{self.shown} cannot be opened: it is not a file") from None
        except FileNotFoundError as error:
            raise LedgerError(
                f"{self.shown} cannot be created: there is no directory {self.path.parent}"
            ) from error
        except OSError as error:
            raise LedgerError(f"{self.shown} cannot be created: {error.strerror}") from error


def _url(given: str | os.PathLike[str] | URL) -> URL:
    if isinstance(given, URL):
        return given
    text = os.fspath(given)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # The original error may quote a part of the password.
        raise ValueError(
            'the ledger\'s URL cannot be read: it is like "sqlite:///flextier.db" or '
            '"postgresql://user:password@host/database", with %40 for an @ in a password'
        ) from None


def _file(url: URL) -> Path:
    name = url.database
    if not name or name == ":memory:":
        raise ValueError("a ledger outlives its process: give it a file, as in sqlite:///my.db")
    if name.startswith("file:"):
        raise ValueError(f"{name}: give the ledger's path itself, not a file: URI")
    return Path(name).expanduser().absolute()
