"""What a request for a background response asks for besides the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flextier.lanes import ANY_WINDOW, STANDARD
from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.behavior.background_behavior import BackgroundWeather
from flextier.sim.model.request import ModelRequest
from flextier.sim.stores import background_errors
from flextier.sim.stores.background_timeline import WINDOWS

OPTIONS = "background_options"
_KNOWN = ("completion_window", "continuation_id")


@dataclass(frozen=True)
class BackgroundOptions:
    """How a background response shall be made and kept.

    Attributes:
        window: ``soonest``, ``2h`` or ``8h``.
        lane: What it is billed as: ``background-`` and the window; on the tiers flex and
            priority, which only ``soonest`` can have, that tier's lane.
        stored: Whether it is kept for good.
        continuation_id: What ties it to others; None: not given.
        project: Whose it is: the account (API key) and the project named in a header.
    """

    window: str
    lane: str
    stored: bool
    continuation_id: str | None = None
    project: tuple[str, str] = ("", "")


def read_order(
    ask: ModelRequest, headers: Mapping[str, str], weather: BackgroundWeather
) -> BackgroundOptions | None:
    """What a request says about the background; None: it is answered directly.

    Raises:
        Rejected: The API would answer 400.
    """
    body = ask.body
    background = _typed(body, "background", bool, "a boolean")
    stored = _typed(body, "store", bool, "a boolean")
    window, continuation_id = _options(body)
    if window != "soonest":
        _check_discount(ask, window, bool(background))
    if not background:
        return None
    if not weather.takes(ask.model):
        raise Rejected(background_errors.no_background(ask.model))
    if window != "soonest" and not weather.has_windows(ask.model):
        raise Rejected(background_errors.no_window(ask.model, window))
    return BackgroundOptions(
        window=window,
        lane=f"{ANY_WINDOW}-{window}" if ask.lane == STANDARD.name else ask.lane,
        stored=weather.stored if stored is None else stored,
        continuation_id=continuation_id,
        project=(headers.get("authorization", ""), headers.get("openai-project", "")),
    )


def _options(body: Mapping[str, Any]) -> tuple[str, str | None]:
    options = _typed(body, OPTIONS, dict, "an object") or {}
    for name in options:
        if name not in _KNOWN:
            raise Rejected(api_errors.unknown_parameter(f"{OPTIONS}.{name}"))
    window = options.get("completion_window", "soonest")
    if not isinstance(window, str) or window not in WINDOWS:
        raise Rejected(api_errors.unsupported(f"{OPTIONS}.completion_window", window, WINDOWS))
    name = options.get("continuation_id")
    if not isinstance(name, str | None):
        raise Rejected(api_errors.wrong_type(f"{OPTIONS}.continuation_id", "a string", name))
    return window, name


def _check_discount(ask: ModelRequest, window: str, background: bool) -> None:
    if not background:
        raise Rejected(background_errors.window_needs(window, "background: true"))
    if ask.lane != STANDARD.name:
        raise Rejected(background_errors.window_needs(window, "Standard processing"))
    if ask.stream:
        raise Rejected(background_errors.window_needs(window, "stream: false"))


def _typed(body: Mapping[str, Any], name: str, kind: type, expected: str) -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise Rejected(api_errors.wrong_type(name, expected, value))
    return value
