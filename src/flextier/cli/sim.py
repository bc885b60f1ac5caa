"""``flextier sim``: the simulator as a command."""

from __future__ import annotations

import argparse
import signal
import time
from typing import TYPE_CHECKING

from flextier.cli._common import DURATION, duration_or_zero, fail, write_stdout

if TYPE_CHECKING:
    from flextier.sim.simulator import Simulator

PORT = 8089


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier sim`` to a parser."""
    parser.add_argument(
        "--port", type=int, default=PORT, help="port on 127.0.0.1; 0: any free one [%(default)s]"
    )
    weather = parser.add_mutually_exclusive_group()
    weather.add_argument(
        "--weather",
        metavar="SPEC",
        default="",
        help="the flex lane, such as outage=10-40,slots=5,refuse=0.3,stall=0.02,slow=2",
    )
    weather.add_argument("--weather-file", metavar="FILE", help="the flex lane, as a JSON file")
    parser.add_argument(
        "--latency",
        type=duration_or_zero,
        default=0.0,
        metavar=DURATION,
        help="how long an answer takes off flex: seconds, 90s, 5m [none]",
    )
    parser.add_argument(
        "--flex-latency",
        type=duration_or_zero,
        default=0.0,
        metavar=DURATION,
        help="how long an answer takes on flex [none]",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers [%(default)s]")
    parser.add_argument(
        "--record-bodies", action="store_true", help="keep the bodies of the last requests"
    )
    parser.add_argument(
        "--record-paid", action="store_true", help="count how often each line was paid for"
    )
    parser.add_argument(
        "--token", help="what processes that steer it name in x-flextier-token [a random one]"
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="how fast the time of batches and background responses runs; 3600: an hour in a "
        "second [%(default)s]",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; return 0, or 2 for invalid options."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _simulator(options) as simulator:
            status = write_stdout("sim", f"{_greeting(simulator)}\n")
            while not status:
                time.sleep(0.5)  # short, because Windows delivers Ctrl-C only between sleeps
    except (ImportError, OSError, ValueError) as error:
        status = fail("sim", error)
    except KeyboardInterrupt:
        status = 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    return status


def _simulator(options: argparse.Namespace) -> Simulator:
    # Imported here, so that `--help` does not need the libraries of a server.
    from flextier.sim.behavior.weather import Weather
    from flextier.sim.simulator import Simulator

    file = options.weather_file
    return Simulator(
        Weather.from_json(file) if file else Weather.parse(options.weather),
        latency=options.latency,
        flex_latency=options.flex_latency,
        seed=options.seed,
        port=options.port,
        record_bodies=options.record_bodies,
        speed=options.speed,
        record_paid=options.record_paid,
        token=options.token,
    )


def _greeting(simulator: Simulator) -> str:
    return (
        f"A simulated OpenAI with flex weather: {simulator.base_url}\n"
        f"Statistics: {simulator.url}/stats   Stop: Ctrl-C   Token: {simulator.token}\n"
        "\n"
        f"export OPENAI_BASE_URL={simulator.base_url}\n"
        f"export OPENAI_API_BASE={simulator.base_url}  # LlamaIndex reads this one\n"
        "export OPENAI_API_KEY=simulated"
    )
