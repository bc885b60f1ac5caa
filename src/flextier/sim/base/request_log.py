"""The books of the simulator: what reached the wire, what came of it, what was billed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from flextier.sim.base.paid_lines import PaidLines
from flextier.sim.base.tokens import Tokens


@dataclass(slots=True)
class SeenRequest:
    """One request as it reached the server. Filled in while it is served.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        headers: The headers, names in lower case.
        body: The JSON body; None when there is none, or bodies are not recorded.
        tier: The ``service_tier`` asked for; None when absent.
        lane: ``flex``, ``standard`` or ``priority``, or ``background-`` and a completion window;
            empty off the model endpoints.
        window: The completion window of a request for a background response; else empty.
        model: The model asked for; empty when absent.
        stream: Whether a stream was asked for.
        started: Seconds since the epoch at its arrival.
        outcome: How it ended: ``in_flight`` until it is known, then ``served``,
            ``refused``, ``stalled``, ``abandoned`` and so on: see docs/simulator.md.
        served_tier: The tier of the answer; None without one.
        status: The HTTP status sent; None when none was.
        seconds: How long it took; None while in flight.
        request_id: The ``x-request-id`` of its response.
        line: What paid lines know it by (:func:`.paid_lines.digest`); empty when they are
            not recorded.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: dict[str, Any] | None = field(default=None, repr=False)
    tier: str | None = None
    lane: str = ""
    window: str = ""
    model: str = ""
    stream: bool = False
    started: float = field(default_factory=time.time)
    outcome: str = "in_flight"
    served_tier: str | None = None
    status: int | None = None
    seconds: float | None = None
    request_id: str = ""
    line: str = field(default="", repr=False)


#: Outcomes after which a real provider may or may not charge: the work was begun, and the
#: answer did not arrive. What OpenAI does is not documented.
POSSIBLY_BILLED = frozenset(
    {
        "abandoned",
        "cut",
        "lost",
        "not_json",
        "stalled",
        "stream_ended",
        "stream_error",
        "stream_reset",
        "stream_stalled",
    }
)

REFUSALS = frozenset({"refused"})

#: Paths under these cost nothing, whatever becomes of the request.
FREE = ("/v1/files", "/v1/batches", "/v1/responses/")


class RequestLog:
    """Counters over every request, and the last ``keep`` requests themselves.

    Written by the server's thread, read from any.

    Args:
        keep: How many requests are kept.
        record_paid: Whether every paid line is counted, too.
    """

    def __init__(self, keep: int = 10_000, *, record_paid: bool = False) -> None:
        self.paid = PaidLines() if record_paid else None
        self._lock = Lock()
        self._requests: deque[SeenRequest] = deque(maxlen=keep)
        self._started = time.monotonic()
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._paths: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._served: Counter[str] = Counter()
        self._billed: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._warnings: deque[str] = deque(maxlen=100)
        self._stalls = 0
        self._possibly = 0
        self.in_flight = 0
        self.flex_in_use: Counter[str] = Counter()

    def arrive(self, request: SeenRequest) -> None:
        """A request has arrived."""
        with self._lock:
            self._requests.append(request)
            self.in_flight += 1

    def stall(self, request: SeenRequest, outcome: str) -> None:
        """A request has fallen silent; it stays in flight."""
        with self._lock:
            self._stalls += 1
            request.outcome = outcome

    @contextmanager
    def slot(self, lane: str, pool: str) -> Iterator[None]:
        """Count a flex request as being served from a pool of slots while this lasts."""
        flex = int(lane == "flex")
        self.flex_in_use[pool] += flex
        try:
            yield
        finally:
            self.flex_in_use[pool] -= flex

    def settle(self, request: SeenRequest, outcome: str, route: str) -> None:
        """A request is finished; ``route`` is the path it is counted under."""
        with self._lock:
            self.in_flight -= 1
            request.outcome = outcome
            self._outcomes[request.lane or "other", outcome] += 1
            self._paths[route] += 1
            if request.model:
                self._models[request.model] += 1
            # A background response is billed when it has ended, whether its id is known or not.
            free = bool(request.window) or route.startswith(FREE)
            possibly = outcome in POSSIBLY_BILLED and not free
            self._possibly += possibly
        if possibly and self.paid is not None and request.line:
            self.paid.perhaps(request.line, request.lane or "standard")

    def bill(self, model: str, tier: str, tokens: Tokens, key: str = "") -> None:
        """An answer was delivered whole, stands in a batch's output, or was made in background.

        Args:
            model: The model.
            tier: The tier that served it, ``batch``, or ``background-`` and a window.
            tokens: What it is billed for.
            key: What paid lines know it by; empty: it is not among them.
        """
        if self.paid is not None and key:
            self.paid.pay(key, tier)
        with self._lock:
            self._served[tier] += 1
            line = self._billed[model, tier]
            line["requests"] += 1
            line["input_tokens"] += tokens.input_tokens
            line["cached_input_tokens"] += tokens.cached_input_tokens
            line["cache_write_tokens"] += tokens.cache_write_tokens
            line["output_tokens"] += tokens.output_tokens
            line["reasoning_tokens"] += tokens.reasoning_tokens

    def warn(self, text: str) -> None:
        """Something the tester should know; shown in the statistics."""
        with self._lock:
            self._warnings.append(text)

    def requests(self) -> list[SeenRequest]:
        """The last requests, in order of arrival."""
        with self._lock:
            return list(self._requests)

    def stats(self) -> dict[str, Any]:
        """Everything counted, as ``GET /stats`` shows it."""
        with self._lock:
            return {
                "simulated": True,
                "uptime": time.monotonic() - self._started,
                "in_flight": self.in_flight,
                "requests": sum(self._outcomes.values()) + self.in_flight,
                "outcomes": _nested(self._outcomes),
                "paths": dict(self._paths),
                "models": dict(self._models),
                "refusals": self._sum(REFUSALS),
                "stalls": self._stalls,
                "served": dict(self._served),
                "billed": _nested(self._billed),
                "possibly_billed": self._possibly,
                "warnings": list(self._warnings),
            }

    def _sum(self, outcomes: frozenset[str]) -> int:
        return sum(n for (_, outcome), n in self._outcomes.items() if outcome in outcomes)


def _nested(table: Any) -> dict[str, dict[str, Any]]:
    """``{(a, b): value}`` as ``{a: {b: value}}``."""
    nested: dict[str, dict[str, Any]] = {}
    for (outer, inner), value in table.items():
        nested.setdefault(outer, {})[inner] = dict(value) if isinstance(value, Counter) else value
    return nested
