"""The one-line spelling of the weather: ``outage=10-40,slots=5,refuse=0.3``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def read(text: str) -> dict[str, Any]:
    """The fields of a Weather, as JSON would have them, from one line.

    Words are separated by commas; windows, ``step``, ``unsupported`` and ``unverified`` may come
    more than once. ``o3:slots=2`` is a word of one model's own weather.

    Raises:
        ValueError: A word is unknown, has no value or one that cannot be read, or is repeated.
    """
    fields: dict[str, Any] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, equals, value = word.partition("=")
        model, colon, name = name.rpartition(":")
        key = name.strip().replace("-", "_")
        if key not in _WORDS:
            raise ValueError(f"weather: unknown word {name!r}; known: {', '.join(sorted(_WORDS))}")
        if not equals:
            raise ValueError(f"weather: {name} needs a value: {name}=...")
        _put(_of_model(fields, model.strip()) if colon else fields, key, value.strip())
    return fields


def _of_model(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """The fields of a model's own weather."""
    if not model:
        raise ValueError("weather: a model's name is needed before a colon, such as o3:slots=2")
    own: dict[str, Any] = fields.setdefault("models", {}).setdefault(model, {})
    return own


def _put(fields: dict[str, Any], key: str, text: str) -> None:
    field, reader, several = _WORDS[key]
    try:
        value = reader(text)
    except ValueError as error:
        raise ValueError(f"weather: {key}={text} cannot be read: {error}") from error
    group, dot, name = field.rpartition(".")
    if dot:
        fields, field = fields.setdefault(group, {}), name
    if several:
        fields.setdefault(field, []).append(value)
    elif field in fields:
        raise ValueError(f"weather: {key} is given twice")
    else:
        fields[field] = value


def _window(text: str) -> list[float]:
    """``10-40``: from, to."""
    start, dash, end = text.partition("-")
    if not dash:
        raise ValueError("two numbers joined by a dash are needed, such as 10-40")
    return [float(start), float(end)]


def _spell(text: str) -> list[float]:
    """``10-40:0.5``: from, to, a number."""
    window, colon, number = text.rpartition(":")
    if not colon:
        raise ValueError("a window and a number joined by a colon are needed, such as 10-40:0.5")
    return [*_window(window), float(number)]


def _step(text: str) -> list[float]:
    """``60:5``: from, slots."""
    start, colon, slots = text.partition(":")
    if not colon:
        raise ValueError("seconds and slots joined by a colon are needed, such as 60:5")
    return [float(start), int(slots)]


def _bucket(text: str) -> list[float]:
    """``2/10``: a rate and a burst."""
    rate, slash, burst = text.partition("/")
    if not slash:
        raise ValueError("a rate and a burst joined by a slash are needed, such as 2/10")
    return [float(rate), float(burst)]


def _latency(text: str) -> float | list[float]:
    """``0.5`` or ``0.5-2``."""
    try:
        return float(text)
    except ValueError:
        return _window(text)


def _number_or_text(text: str) -> float | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


def _flag(text: str) -> bool:
    """``true`` or ``false``."""
    if text not in ("true", "false"):
        raise ValueError("true or false is needed")
    return text == "true"


def _process(text: str) -> dict[str, float]:
    """``60/20/1``: mean seconds open, mean seconds shut, seed (0 when left out)."""
    parts = text.split("/")
    if len(parts) not in (2, 3):
        raise ValueError("mean open and shut seconds are needed, and maybe a seed: 60/20/1")
    seed = int(parts[2]) if len(parts) == 3 else 0
    return {"mean_open": float(parts[0]), "mean_shut": float(parts[1]), "seed": seed}


# word: (field of Weather, or of its part before the dot, how it is read, whether it may come
# more than once)
_WORDS: dict[str, tuple[str, Callable[[str], Any], bool]] = {
    "outage": ("outages", _window, True),
    "slots": ("slots", int, False),
    "step": ("steps", _step, True),
    "bucket": ("bucket", _bucket, False),
    "refuse": ("refuse", float, False),
    "stall": ("stall", float, False),
    "stall_seconds": ("stall_seconds", float, False),
    "stall_window": ("stall_windows", _spell, True),
    "slow": ("slow", float, False),
    "slow_window": ("slow_windows", _spell, True),
    "rpm": ("rpm", int, False),
    "rpm_window": ("rpm_window", float, False),
    "tpm": ("tpm", int, False),
    "retry_after": ("retry_after", _number_or_text, False),
    "unsupported": ("unsupported_models", str, True),
    "unverified": ("unverified_models", str, True),
    "standard_latency": ("standard_latency", _latency, False),
    "flex_latency": ("flex_latency", _latency, False),
    "refusal_latency": ("refusal_latency", _latency, False),
    "random": ("random", _process, False),
    "batch": ("batch.seconds", _latency, False),
    "batch_validating": ("batch.validating", _latency, False),
    "batch_finalizing": ("batch.finalizing", _latency, False),
    "batch_cancelling": ("batch.cancelling", _latency, False),
    "batch_expire_after": ("batch.expire_after", float, False),
    "batch_enqueued_limit": ("batch.enqueued_limit", int, False),
    "batch_line_errors": ("batch.line_errors", float, False),
    "batch_line_rate_limits": ("batch.line_rate_limits", float, False),
    "batch_api_errors": ("batch.api_errors", float, False),
    "batch_unsupported": ("batch.unsupported_models", str, True),
    "batch_max_lines": ("batch.max_lines", int, False),
    "batch_max_bytes": ("batch.max_bytes", int, False),
    "background": ("background.seconds", _latency, False),
    "background_2h": ("background.seconds_2h", _latency, False),
    "background_8h": ("background.seconds_8h", _latency, False),
    "background_queued": ("background.queued", _latency, False),
    "background_queued_2h": ("background.queued_2h", _latency, False),
    "background_queued_8h": ("background.queued_8h", _latency, False),
    "background_fail": ("background.fail", float, False),
    "background_incomplete": ("background.incomplete", float, False),
    "background_missed": ("background.missed", float, False),
    "background_missed_by": ("background.missed_by", _latency, False),
    "background_follow_up": ("background.follow_up", float, False),
    "background_cancelling": ("background.cancelling", _latency, False),
    "background_cancel_ended": ("background.cancel_ended", _flag, False),
    "background_windows": ("background.window_models", str, True),
    "background_unsupported": ("background.unsupported_models", str, True),
    "background_stored": ("background.stored", _flag, False),
    "background_keep": ("background.keep", float, False),
    "background_poll_rpm": ("background.poll_rpm", int, False),
    "background_api_errors": ("background.api_errors", float, False),
}
