"""Where a ledger is: a SQLite file or a PostgreSQL database, and how messages name it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flextier.ledger.errors import LedgerError

_KINDS = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class LedgerUrl:
    """Where a ledger is."""

    url: URL
    path: Path | None
    """The SQLite file, absolute: a program may change its directory later. None: PostgreSQL."""
    shown: str
    """Its name in messages; no password and no options, which may hold one."""

    @classmethod
    def read(cls, given: str | os.PathLike[str] | URL) -> LedgerUrl:
        """The address for a URL of SQLAlchemy or the path of a file.

        Raises:
            ValueError: it is none of a SQLite file or a PostgreSQL database.
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
        # A URI, and "rw": SQLite itself never makes the file, which would be for all to read.
        url = url.set(
            database=f"file:{quote(str(path))}",
            query={**url.query, "uri": "true", "mode": "rw"},
        )
        return cls(url, path, f"sqlite:///{path}")

    def readonly(self, *, still: bool = False) -> LedgerUrl:
        """The same, for connections that cannot write.

        Args:
            still: assume that no other process writes to the SQLite file.
        """
        if self.path is None:
            return self
        url = self.url.update_query_dict({"mode": "ro", **({"immutable": "1"} if still else {})})
        return LedgerUrl(url, self.path, self.shown)

    def redacted(self, message: str) -> str:
        """A message of the driver without the password, should that be in it."""
        secrets = [self.url.password, *map(str, self.url.normalized_query.get("password", ()))]
        for secret in secrets:
            if secret:
                message = message.replace(secret, "***")
        return message

    def make_file(self) -> None:
        """Make the SQLite file, if there is none, for its owner alone to read.

        SQLite gives the files beside it, ``-wal`` and ``-shm``, the same mode.

        Raises:
            LedgerError: it cannot be made.
        """
        if self.path is None:
            return
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            self._close_empty_file()
        except FileNotFoundError as error:
            raise LedgerError(
                f"{self.shown} cannot be made: there is no directory {self.path.parent}"
            ) from error
        except OSError as error:
            raise LedgerError(f"{self.shown} cannot be made: {error.strerror}") from error

    def _close_empty_file(self) -> None:
        """Restrict an empty file that already exists to its owner, too."""
        assert self.path is not None
        try:
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):
                # SQLite would try, and leave a journal beside a device.
                raise LedgerError(f"{self.shown} cannot be opened: it is no file")
            if found.st_size == 0:
                self.path.chmod(0o600)
        except OSError as error:
            raise LedgerError(f"{self.shown} cannot be used: {error.strerror}") from error


def _url(given: str | os.PathLike[str] | URL) -> URL:
    if isinstance(given, URL):
        return given
    text = os.fspath(given)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # What it says may hold a part of the password.
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
