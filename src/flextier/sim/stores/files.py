"""Uploaded and written files, kept on disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.paging import Page, paged

DAY = 86_400
BUFFER = 256 * 1024

# OpenAI's API reference: files of the purpose "batch" expire after 30 days, others never.
BATCH_FILE_DAYS = 30


@dataclass(frozen=True)
class StoredFile:
    """A file on disk, and what the API says of it.

    Attributes:
        id: ``file-`` and random digits.
        name: The name it was uploaded with.
        purpose: ``batch``, ``batch_output`` and so on.
        size: In bytes.
        created: The provider's time, seconds since the epoch.
        expires: When it is deleted; None: never.
        path: Where it is kept.
    """

    id: str
    name: str
    purpose: str
    size: int
    created: int
    expires: int | None
    path: Path

    def describe(self) -> dict[str, Any]:
        """The ``file`` object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            "expires_at": self.expires,
            "status_details": None,
        }


class PendingFile:
    """A file being written; it becomes one of the store's when it is published.

    Open only while it writes, so that an abandoned draft leaves no open file behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """Append."""
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self.path.open("ab") as file:
            file.write(self._waiting)
        self._waiting.clear()

    def discard(self) -> None:
        """Delete."""
        self._waiting.clear()
        _unlink(self.path)


class FileStore:
    """Files by their id, oldest first, in a directory that goes with the store.

    Args:
        now: The provider's time, in seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._files: dict[str, StoredFile] = {}
        self._directory: Path | None = None
        self._held: Counter[Path] = Counter()

    def draft(self) -> PendingFile:
        """A new file to write."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="flextier-sim-"))
            weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        return PendingFile(self._directory / uuid4().hex)

    def publish(
        self, draft: PendingFile, name: str, purpose: str, *, lifetime: int | None = None
    ) -> StoredFile:
        """Keep a written file.

        Args:
            draft: The file.
            name: The file's name for the API.
            purpose: Its purpose.
            lifetime: Seconds until it expires; None: 30 days for ``batch``, else never.
        """
        draft.flush()
        created = int(self._now())
        if lifetime is None and purpose == "batch":
            lifetime = BATCH_FILE_DAYS * DAY
        file = StoredFile(
            id=f"file-{uuid4().hex[:24]}",
            name=name,
            purpose=purpose,
            size=draft.size,
            created=created,
            expires=None if lifetime is None else created + lifetime,
            path=draft.path,
        )
        self._files[file.id] = file
        return file

    def find(self, file_id: str) -> StoredFile | None:
        """A file; None: there is none of this id."""
        self._expire()
        return self._files.get(file_id)

    def get(self, file_id: str) -> StoredFile:
        """A file.

        Raises:
            Rejected: There is none of this id.
        """
        file = self.find(file_id)
        if file is None:
            raise Rejected(api_errors.no_such("File object", file_id))
        return file

    def delete(self, file_id: str) -> dict[str, Any]:
        """Forget a file.

        Raises:
            Rejected: There is none of this id.
        """
        self._drop(self.get(file_id))
        return {"id": file_id, "object": "file", "deleted": True}

    def list(self, page: Page, purpose: str | None = None) -> dict[str, Any]:
        """A page of the files, or of those of a purpose.

        Raises:
            Rejected: The page begins after a file that there is not.
        """
        self._expire()
        files = [file.describe() for file in self._files.values()]
        return paged([file for file in files if purpose in (None, file["purpose"])], page)

    def stats(self) -> dict[str, int]:
        """How many files there are, and their bytes."""
        files: Sequence[StoredFile] = list(self._files.values())
        return {"count": len(files), "bytes": sum(file.size for file in files)}

    def _expire(self) -> None:
        now = self._now()
        for file in list(self._files.values()):
            if file.expires is not None and file.expires <= now:
                self._drop(file)

    def hold(self, file: StoredFile) -> None:
        """Keep a file's content, even if the file is deleted, until it is released."""
        self._held[file.path] += 1

    def release(self, file: StoredFile) -> None:
        """Hold a file no longer."""
        self._held[file.path] -= 1
        if self._held[file.path] <= 0:
            del self._held[file.path]
            if file.id not in self._files:
                _unlink(file.path)

    def close(self) -> None:
        """Delete every file."""
        self._files.clear()
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)

    def _drop(self, file: StoredFile) -> None:
        del self._files[file.id]
        if file.path not in self._held:
            _unlink(file.path)


def _unlink(path: Path) -> None:
    # A system that does not delete open files deletes this one with the directory.
    with suppress(OSError):
        path.unlink()
