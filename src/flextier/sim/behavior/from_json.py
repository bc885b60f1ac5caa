"""Steering a simulator from another process: faults and weather as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flextier.sim.base import validation
from flextier.sim.behavior.background_outcomes import BackgroundOutcome
from flextier.sim.behavior.batch_outcomes import BatchOutcome
from flextier.sim.behavior.faults import Fault

T = TypeVar("T")

_MAKERS: Mapping[str, Callable[..., Fault]] = {
    "serve": Fault.serve,
    "refuse": Fault.refuse,
    "rate_limit": Fault.rate_limit,
    "token_limit": Fault.token_limit,
    "quota": Fault.quota,
    "unsupported": Fault.unsupported,
    "unverified": Fault.unverified,
    "status": Fault.status,
    "stall": Fault.stall,
    "reset": Fault.reset,
    "cut": Fault.cut,
    "not_json": Fault.not_json,
    "body": Fault.body,
    "trickle": Fault.trickle,
    "stream_error": Fault.stream_error,
    "stream_end": Fault.stream_end,
    "stream_reset": Fault.stream_reset,
    "stream_stall": Fault.stream_stall,
}


def _failed_batch(errors: Iterable[Any] = ()) -> BatchOutcome:
    return BatchOutcome.fail(*errors)


def _completed_batch(written: Iterable[Any] = (), **more: Any) -> BatchOutcome:
    return BatchOutcome.complete(*written, **more)


_OUTCOMES: Mapping[str, Callable[..., BatchOutcome]] = {
    "fail": _failed_batch,
    "expire": BatchOutcome.expire,
    "cancel": BatchOutcome.cancel,
    "only_errors": BatchOutcome.only_errors,
    "stay": BatchOutcome.stay,
    "complete": _completed_batch,
}

_BACKGROUND: Mapping[str, Callable[..., BackgroundOutcome]] = {
    "complete": BackgroundOutcome.complete,
    "fail": BackgroundOutcome.fail,
    "incomplete": BackgroundOutcome.incomplete,
    "cancel": BackgroundOutcome.cancel,
    "stay": BackgroundOutcome.stay,
    "delete": BackgroundOutcome.delete,
    "outrun": BackgroundOutcome.outrun,
}


def read_faults(data: Any) -> list[Fault]:
    """Faults from JSON: a list of ``{"fault": name, "on": conditions, argument: value, ...}``.

    Names and arguments are those of the class methods of :class:`Fault`; ``"times"`` repeats one.

    Raises:
        ValueError: The list holds something else, or an argument is wrong; the message names it.
    """
    if not isinstance(data, list):
        raise ValueError("faults must be a list")  # noqa: TRY004 - JSON's fault, not ours
    return [fault for item in data for fault in _read_fault(item)]


def _read_fault(item: Any) -> list[Fault]:
    if not isinstance(item, dict) or str(item.get("fault")) not in _MAKERS:
        raise ValueError(f"fault must be one of {', '.join(_MAKERS)}: {item}")
    arguments = {key: value for key, value in item.items() if key not in ("fault", "on", "times")}
    times = item.get("times", 1)
    validation.positive("times", times)
    try:
        fault = _MAKERS[item["fault"]](**arguments).on(**item.get("on", {}))
    except TypeError as error:
        raise ValueError(f"fault {item['fault']}: {error}") from error
    return [fault] * int(times)


def read_outcomes(data: Any) -> list[BatchOutcome]:
    """Batches' outcomes from JSON: a list of ``{"outcome": name, argument: value, ...}``.

    Names and arguments are those of the class methods of :class:`BatchOutcome`; ``fail`` has a
    list of ``errors``; ``"times"`` repeats one.

    Raises:
        ValueError: The list holds something else, or an argument is wrong; the message names it.
    """
    return _read_outcomes(data, _OUTCOMES)


def read_background_outcomes(data: Any) -> list[BackgroundOutcome]:
    """The same for background responses, with the class methods of :class:`BackgroundOutcome`.

    Raises:
        ValueError: The list holds something else, or an argument is wrong; the message names it.
    """
    return _read_outcomes(data, _BACKGROUND)


def _read_outcomes(data: Any, makers: Mapping[str, Callable[..., T]]) -> list[T]:
    if not isinstance(data, list):
        raise ValueError("outcomes must be a list")  # noqa: TRY004 - JSON's fault, not ours
    return [outcome for item in data for outcome in _read_outcome(item, makers)]


def _read_outcome(item: Any, makers: Mapping[str, Callable[..., T]]) -> list[T]:
    name = str(item.get("outcome")) if isinstance(item, dict) else ""
    if name not in makers:
        raise ValueError(f"outcome must be one of {', '.join(makers)}: {item}")
    arguments = {key: value for key, value in item.items() if key not in ("outcome", "times")}
    times = item.get("times", 1)
    validation.positive("times", times)
    try:
        outcome = makers[name](**arguments)
    except TypeError as error:
        raise ValueError(f"outcome {name}: {error}") from error
    return [outcome] * int(times)
