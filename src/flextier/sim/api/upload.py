"""Taking a file of a multipart form to disk, without holding it in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.exchange import ClientLeft, Exchange, Message
from flextier.sim.base.file_lifetime import read_lifetime
from flextier.sim.stores.batch_input import parse
from flextier.sim.stores.files import FileStore, PendingFile, StoredFile

CHUNK = 1024 * 1024

# The most that the form has around the file, in bytes.
_FORM = 64 * 1024

# A first line longer than this is not looked at when it is uploaded: it takes too long.
_LONGEST_LOOK = 10 * CHUNK


async def keep_upload(exchange: Exchange, files: FileStore, most: int) -> StoredFile:
    """Keep the ``file`` of a multipart form.

    Args:
        exchange: The request.
        files: Where it is kept.
        most: The most bytes it may have.

    Raises:
        Rejected: The API would answer 400 or 413.
        ClientLeft: The client left before it was complete.
    """
    async with _form(exchange, most) as form:
        upload, purpose = form.get("file"), form.get("purpose")
        if not isinstance(upload, UploadFile):
            raise Rejected(api_errors.missing("file"))
        if not isinstance(purpose, str):
            raise Rejected(api_errors.missing("purpose"))
        if (upload.size or 0) > most:
            raise Rejected(api_errors.too_large(most, upload.size or 0))
        name = upload.filename or "upload"
        lifetime = read_lifetime("expires_after", _nested(form, "expires_after"))
        if purpose == "batch":
            await _check_jsonl(upload, name)
        draft = files.draft()
        try:
            await _copy(upload, draft)
        except BaseException:
            draft.discard()
            raise
        return files.publish(draft, name, purpose, lifetime=lifetime)


@asynccontextmanager
async def _form(exchange: Exchange, most: int) -> AsyncIterator[FormData]:
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await exchange.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        size += len(message.get("body", b""))
        if size > most + _FORM:
            # Read to the end: a client that still sends would see a broken connection instead.
            while message.get("more_body"):
                message = await exchange.receive()
                size += len(message.get("body", b""))
            raise Rejected(api_errors.too_large(most, size))
        return message

    try:
        async with Request(exchange.scope, receive).form() as form:
            yield form
    except MultiPartException as error:
        raise Rejected(api_errors.invalid("file", error.message)) from error


def _nested(form: FormData, name: str) -> dict[str, Any] | None:
    """The fields ``name[key]`` of a form; None: there are none."""
    start = f"{name}["
    found: dict[str, Any] = {
        key.removeprefix(start).rstrip("]"): value
        for key, value in form.items()
        if key.startswith(start)
    }
    if str(found.get("seconds", "")).isdecimal():
        found["seconds"] = int(found["seconds"])
    return found or None


async def _check_jsonl(upload: UploadFile, name: str) -> None:
    """Whether the name ends in ``.jsonl`` and the first line is a JSON object.

    Both are seen at the upload already (BerriAI/litellm#37527, tests of llama-stack); all other
    lines are when a batch is made of them.
    """
    first = await _first_line(upload)
    readable = first is None or parse(first) is not None or first.isspace()
    if not name.endswith(".jsonl") or not upload.size or not readable:
        raise Rejected(api_errors.not_jsonl())


async def _first_line(upload: UploadFile) -> bytes | None:
    """The first line; None: it is too long."""
    start = more = await upload.read(CHUNK)
    while more and b"\n" not in start and len(start) <= _LONGEST_LOOK:
        more = await upload.read(CHUNK)
        start += more
    await upload.seek(0)
    return None if len(start) > _LONGEST_LOOK else start.partition(b"\n")[0] + b"\n"


async def _copy(upload: UploadFile, draft: PendingFile) -> None:
    while chunk := await upload.read(CHUNK):
        draft.write(chunk)
