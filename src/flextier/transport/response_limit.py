"""A limit on the bytes of a response, unpacked: a small body may unpack to gigabytes."""

from __future__ import annotations

from typing import Any

from flextier._openai.compat import ResponseTooLarge
from flextier._openai.request_options import MAX_BYTES


class _LimitedDecoder:
    """httpx's decoder of a response, which counts what it returns."""

    def __init__(self, decoder: Any, limit: int) -> None:
        self._decoder = decoder
        self._limit = limit
        self._count = 0

    def decode(self, data: bytes) -> Any:
        return self._counted(self._decoder.decode(data))

    def flush(self) -> Any:
        return self._counted(self._decoder.flush())

    def _counted(self, data: Any) -> Any:
        if not isinstance(data, bytes):  # httpx2 returns an iterator
            return map(self._counted, data)
        self._count += len(data)
        if self._count > self._limit:
            raise ResponseTooLarge(
                f"the response has more than {self._limit:,} bytes: raise "
                "FlexPolicy.max_response_bytes (FLEXTIER_MAX_RESPONSE_BYTES) if it may"
            )
        return data


def limited(request: Any, response: Any) -> Any:
    """The response, limited where its request says so."""
    limit = request.extensions.get(MAX_BYTES)
    if limit is not None:
        response._decoder = _LimitedDecoder(response._get_content_decoder(), limit)
    return response
