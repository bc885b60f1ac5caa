"""What a ledger costs: the thread that makes a call, the process, and writing many records.

The first row is CPU time of the calling thread alone: ``Ledger.add`` against ``list.append``. What
counts is the time added, which is to stay below 200 microseconds a call. The second row is that of
all threads, the ledger's own included: a plain chat completion of ``FlexOpenAI``, answered from
memory, inside ``record_calls(ledger.add)`` against ``record_calls()``.

Run by itself it also prints how long an ``add`` takes on the clock while the ledger is writing, and
how many records a second it writes to a SQLite file.

    python benchmarks/ledger_overhead.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import openai
from _measure import Result, Work, cpu_pairs, in_turn, summary
from _provider import NO_SOCKET, mock_transport

from flextier import Attempt, CallReport, FlexOpenAI
from flextier.costs import CallRecord, Ledger, Usage, record_calls, record_of

ROUNDS = 80
RECORDS = 500
CALLS = 20

_ASK: dict[str, Any] = {
    "model": "o3",
    "messages": [{"role": "user", "content": "Why is the sky blue?"}],
}
_REPORT = CallReport(
    model="o3",
    lane="flex",
    attempts=(
        Attempt("flex", "capacity", 0.2, 429, "req_0123456789abcdef0123456789abcdef"),
        Attempt("flex", "served", 8.5, 200, "req_0123456789abcdef0123456789abcdef"),
    ),
    waited=0.7,
    elapsed=9.4,
    usage=Usage(12_000, 900, cached_input_tokens=8_000, reasoning_tokens=600),
    at=1_790_000_000.0,
    first_lane="flex",
    served_model="o3-2025-04-16",
)
_IDS = count()


def measure(rounds: int = ROUNDS) -> list[Result]:
    """The calling thread's time of a record, and the whole process's of a call."""
    return [_added(rounds), _called(rounds)]


def _added(rounds: int) -> Result:
    with _ledger() as ledger:
        kept: list[CallRecord] = []

        def appended(record: CallRecord) -> None:
            kept.append(record)

        pairs = in_turn(_thread_time(ledger.add, ledger), _thread_time(appended, ledger), rounds)
    return summary("Ledger.add, calling thread", pairs, "record")


def _thread_time(add: Callable[[CallRecord], None], ledger: Ledger) -> Callable[[], float]:
    def seconds() -> float:
        many = _records(RECORDS)
        ledger.flush()
        began = time.thread_time()
        for record in many:
            add(record)
        return (time.thread_time() - began) / RECORDS

    return seconds


def _called(rounds: int) -> Result:
    http = openai.DefaultHttpxClient(transport=mock_transport())
    client = FlexOpenAI(api_key="benchmark", base_url=NO_SOCKET, http_client=http)
    with _ledger() as ledger:

        def work(*sinks: Callable[[CallRecord], None]) -> Work:
            def make(calls: int) -> None:
                with record_calls(*sinks):
                    for _ in range(calls):
                        client.chat.completions.create(**_ASK)
                ledger.flush()

            return make

        pairs = cpu_pairs(work(ledger.add), work(), rounds=rounds, units=CALLS)
    return summary("call with a ledger, all threads", pairs, "call")


def on_the_clock(adds: int = 20_000) -> tuple[float, float, float]:
    """Seconds that an add takes while the ledger writes: the median, 99 in 100, the longest."""
    times = []
    with _ledger() as ledger:
        for record in _records(adds):
            began = time.perf_counter()
            ledger.add(record)
            times.append(time.perf_counter() - began)
    return statistics.median(times), statistics.quantiles(times, n=100)[98], max(times)


def throughput(records: int = 20_000) -> tuple[float, float]:
    """Records written a second to a SQLite file, and bytes of the file for each."""
    many = _records(records)
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "flextier.db"
        with Ledger(file) as ledger:
            began = time.perf_counter()
            ledger.add_all(many)
            seconds = time.perf_counter() - began
        return records / seconds, file.stat().st_size / records


def _records(number: int) -> list[CallRecord]:
    record = record_of(_REPORT, run_id="0123456789abcdef0123456789abcdef", tags=("nightly",))
    return [replace(record, call_id=f"{next(_IDS):032x}") for _ in range(number)]


@contextmanager
def _ledger() -> Iterator[Ledger]:
    with (
        tempfile.TemporaryDirectory() as home,
        Ledger(Path(home) / "flextier.db", queue_limit=100_000) as ledger,
    ):
        yield ledger


def main() -> None:
    """Print a line each."""
    for result in measure():
        print(result)
    median, most, longest = (seconds * 1e6 for seconds in on_the_clock())
    print(
        f"an add on the clock: {median:.1f} us, 99 of 100 {most:.1f} us, longest {longest:,.0f} us"
    )
    rate, size = throughput()
    print(f"written: {rate:,.0f} records a second, {size:,.0f} bytes each")


if __name__ == "__main__":
    main()
