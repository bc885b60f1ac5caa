"""The simulator as its users see it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from flextier.sim.base.request_log import SeenRequest
from flextier.sim.behavior.background_outcomes import BackgroundOutcome
from flextier.sim.behavior.batch_outcomes import BatchOutcome
from flextier.sim.behavior.faults import Fault
from flextier.sim.behavior.weather import Weather

try:
    from flextier.sim.api.app import App
    from flextier.sim.api.server import HOST, Server
    from flextier.sim.stores.world import World
except ImportError as error:
    raise ImportError('the simulator needs: pip install "flextier[sim]"') from error


class Simulator:
    """A simulated OpenAI on ``http://127.0.0.1``, served by a thread of this process.

    Usable from any thread, as a context manager or with :meth:`start` and :meth:`stop`.

    Args:
        weather: What the flex lane is like; None: always open.
        latency: Seconds an answer takes off flex, where the weather does not say.
        flex_latency: Seconds an answer takes on flex, where the weather does not say.
        seed: Chooses the weather's random numbers.
        port: The port; 0: any free one.
        record_bodies: Whether requests are kept with their bodies.
        keep_requests: How many requests are kept; counters count all of them.
        clock: The weather's clock, in seconds; a test can pass its own.
        speed: Seconds of the provider's time, which batches, files and background responses live
            by, in one second of the clock; 3600: an hour in a second.
        record_paid: Whether every paid line is counted, see :meth:`paid`.
        token: What other processes must name in ``x-flextier-token`` to steer it over HTTP; None:
            a random one.
    """

    def __init__(
        self,
        weather: Weather | None = None,
        latency: float = 0.0,
        flex_latency: float = 0.0,
        seed: int = 0,
        *,
        port: int = 0,
        record_bodies: bool = True,
        keep_requests: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        speed: float = 1.0,
        record_paid: bool = False,
        token: str | None = None,
    ) -> None:
        self.token = token or secrets.token_hex(16)
        """What other processes name in ``x-flextier-token`` to steer it over HTTP."""
        self._world = World(
            weather or Weather(),
            latency=latency,
            flex_latency=flex_latency,
            seed=seed,
            record_bodies=record_bodies,
            keep_requests=keep_requests,
            clock=clock,
            speed=speed,
            record_paid=record_paid,
        )
        self._port = port
        self._server: Server | None = None

    def start(self) -> Simulator:
        """Start serving; returns when requests are accepted.

        Raises:
            OSError: The port is taken.
            RuntimeError: It is serving already.
        """
        if self._server is not None:
            raise RuntimeError("the simulator is started already")
        self._server = Server(App(self._world, self.token), self._port)
        self._world.connections = self._server.connections
        self._server.start()
        return self

    def stop(self) -> None:
        """Drop every connection and stop serving. Does nothing when it is not serving."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``.

        Raises:
            RuntimeError: It is not serving.
        """
        if self._server is None:
            raise RuntimeError("the simulator is not started")
        return f"http://{HOST}:{self._server.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its ``base_url``."""
        return f"{self.url}/v1"

    @property
    def weather(self) -> Weather:
        """What the flex lane is like; setting it restarts the weather's clock."""
        return self._world.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._world.weather = weather

    def script(self, *faults: Fault) -> None:
        """Say what happens to the next requests for an answer; after them, the weather decides.

        Faults that name another path, such as ``/batches``, wait for requests to it.
        """
        self._world.script.add(*faults)

    def script_batches(self, *outcomes: BatchOutcome) -> None:
        """Set the outcomes of the next batches; after them, the weather decides."""
        self._world.batches.script(*outcomes)

    def script_background(self, *outcomes: BackgroundOutcome) -> None:
        """Set the outcomes of the next background responses; after them, the weather decides."""
        self._world.responses.script(*outcomes)

    def reset(self) -> None:
        """Forget requests, scripts, counters, files, batches, responses; restart the clocks."""
        self._world.reset()

    @property
    def requests(self) -> list[SeenRequest]:
        """The requests that reached the API, in order of arrival."""
        return self._world.accounts.requests()

    def stats(self) -> dict[str, Any]:
        """What ``GET /stats`` shows."""
        return self._world.stats()

    def paid(self) -> dict[str, Any]:
        """How often lines were paid for, and on which lanes, as ``GET /sim/paid`` shows it.

        A line is an endpoint and a body, see :func:`.paid_lines.digest`: it is the same
        line on every lane, in a batch and in a direct call.

        Returns:
            ``lines`` (different ones that were paid for), ``payments``, ``twice`` (lines paid
            for more than once, with ``digest``, ``times`` and ``lanes``), and ``possibly``
            (lines whose answer was begun and did not arrive, and how often they were ``paid``
            for besides).

        Raises:
            ValueError: Paid lines are not recorded (``record_paid``).
        """
        return self._world.paid()

    @property
    def in_flight(self) -> int:
        """Requests accepted and not finished."""
        return self._world.accounts.in_flight

    @property
    def connections(self) -> int:
        """Open client connections."""
        return self._world.connections()
