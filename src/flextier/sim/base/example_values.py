"""Values within the limits of a JSON schema, the same on every run."""

from __future__ import annotations

from math import ceil, floor
from typing import Any, TypeGuard

_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T12:00:00Z",
    "time": "12:00:00",
    "email": "user@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com",
    "url": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

# Allows for quotients such as 0.3 / 0.1 that miss a whole number by a rounding error.
_ROUNDING = 1e-9


def example_value(schema: dict[str, Any], kind: str, name: str) -> Any:
    """The first of the schema's own examples, else a value of this kind within its limits.

    Args:
        schema: A schema without references and alternatives.
        kind: The JSON type; of another type than string, number, integer and boolean is None.
        name: What the value is called; a string repeats it.
    """
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return examples[0]
    if kind == "string":
        return _string(schema, name)
    if kind == "integer":
        return int(_number(schema, *_whole_limits(schema)))
    if kind == "number":
        return float(_number(schema, *_limits(schema)))
    return True if kind == "boolean" else None


def _string(schema: dict[str, Any], name: str) -> str:
    text = _FORMATS.get(schema.get("format", ""), f"mock-{name}")
    text = text.ljust(int(schema.get("minLength", 0)), "x")
    return text[: int(schema["maxLength"])] if "maxLength" in schema else text


def _number(schema: dict[str, Any], low: float | None, high: float | None) -> float:
    """The number nearest to 1 from ``low`` to ``high``; a multiple where one lies there."""
    number = _clamped(1, low, high)
    step = schema.get("multipleOf")
    if not isinstance(step, (int, float)) or step <= 0:
        return number
    fewest = None if low is None else ceil(low / step - _ROUNDING)
    most = None if high is None else floor(high / step + _ROUNDING)
    multiple = round(_clamped(round(number / step) or 1, fewest, most) * step, 10)
    return multiple if _clamped(multiple, low, high) == multiple else number


def _clamped(number: float, low: float | None, high: float | None) -> float:
    if low is not None:
        number = max(number, low)
    return number if high is None else min(number, high)


def _whole_limits(schema: dict[str, Any]) -> tuple[int | None, int | None]:
    """The least and the greatest whole number; None: no limit."""
    low, above = _bound(schema, "minimum", "exclusiveMinimum", 1)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", -1)
    least = None if low is None else floor(low) + 1 if above else ceil(low)
    most = None if high is None else ceil(high) - 1 if below else floor(high)
    return least, most


def _limits(schema: dict[str, Any]) -> tuple[float | None, float | None]:
    """Numbers that may themselves be taken; a bound that may not is moved inwards."""
    low, above = _bound(schema, "minimum", "exclusiveMinimum", 1)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", -1)
    margin = 0.5 if low is None or high is None else (high - low) / 2
    least = low + margin if low is not None and above else low
    most = high - margin if high is not None and below else high
    return least, most


def _bound(
    schema: dict[str, Any], closed: str, opened: str, sign: int
) -> tuple[float | None, bool]:
    """The stricter of two bounds, and whether it excludes itself; ``sign``: -1 for upper ones."""
    inclusive, exclusive = schema.get(closed), schema.get(opened)
    found = []
    if _is_number(inclusive):
        # Up to draft 4 of JSON schema the second was a flag: whether the first excludes itself.
        found.append((sign * inclusive, exclusive is True))
    if _is_number(exclusive):
        found.append((sign * exclusive, True))
    if not found:
        return None, False
    bound, excluded = max(found)
    return sign * bound, excluded


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
