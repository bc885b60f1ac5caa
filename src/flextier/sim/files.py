"""Uploaded files, kept in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from flextier.sim import errors
from flextier.sim.errors import Rejected


@dataclass(frozen=True)
class StoredFile:
    """An uploaded file."""

    name: str
    purpose: str
    content: bytes
    id: str = field(default_factory=lambda: f"file-{uuid4().hex[:24]}")
    created: int = field(default_factory=lambda: int(time.time()))

    def describe(self) -> dict[str, Any]:
        """The ``file`` object."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileStore:
    """Files by their id, oldest first."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}

    def add(self, file: StoredFile) -> dict[str, Any]:
        """Keep a file; returns its object."""
        self._files[file.id] = file
        return file.describe()

    def get(self, file_id: str) -> StoredFile:
        """A file.

        Raises:
            Rejected: There is none of this id.
        """
        if file_id not in self._files:
            raise Rejected(errors.no_such("File object", file_id))
        return self._files[file_id]

    def delete(self, file_id: str) -> dict[str, Any]:
        """Forget a file.

        Raises:
            Rejected: There is none of this id.
        """
        del self._files[self.get(file_id).id]
        return {"id": file_id, "object": "file", "deleted": True}

    def list(self, purpose: str | None = None) -> dict[str, Any]:
        """The files of a purpose, newest first, all on one page."""
        files = [file.describe() for file in reversed(self._files.values())]
        data = [file for file in files if purpose in (None, file["purpose"])]
        ids = [file["id"] for file in data] or [None]
        page = {"first_id": ids[0], "last_id": ids[-1], "has_more": False}
        return {"object": "list", "data": data, **page}
