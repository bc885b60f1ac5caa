"""How long calls are kept: ten minutes, in bounds, and without their prompts."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.serve import calls
from flextier.serve.calls import Calls
from flextier.serve.running_call import RunningCall


async def ended(kept: Calls, call_id: str) -> weakref.ref[Any]:
    """Make a call, and let it end; returns a reference to its prompt."""

    class Prompt(str):
        __slots__ = ("__weakref__",)

    prompt = Prompt("A secret.")

    async def make(_: RunningCall, sent: str = prompt) -> Any:
        return SimpleNamespace(http_response=http.Response(200, content=b"x" * 100))

    call = RunningCall(make, call_id=call_id)
    call.on_end = kept.ended
    kept.add(call_id.encode(), call)
    await call.ended()
    return weakref.ref(prompt)


async def test_calls_are_dropped_after_ten_minutes_or_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    kept = Calls(lambda: now)
    prompt = await ended(kept, "call-one")
    gc.collect()
    assert prompt() is None
    now = 599
    await ended(kept, "call-two")
    assert kept.get("call-one", "") is not None
    assert kept.get("call-one", "of-another") is None
    now = 601
    assert kept.repeated(b"call-one", None, is_repeat=True) is None
    assert kept.repeated(b"call-two", None, is_repeat=True) is kept.get("call-two", "")
    monkeypatch.setattr(calls, "MAX_BYTES", 250)
    for name in ("call-three", "call-four"):
        await ended(kept, name)
    assert [kept.get(f"call-{name}", "") is None for name in ("two", "three", "four")] == [
        True, False, False
    ]  # fmt: skip
    assert kept.running == 0
