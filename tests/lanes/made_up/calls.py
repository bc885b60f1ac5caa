"""A program that calls over the lanes and prints, as JSON, what every part says of them."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flextier import Clock, FlexOpenAI, track
from flextier.auto import as_json, explain, table
from flextier.cli import main
from flextier.costs import Ledger, record_calls
from flextier.sim import Fault, Simulator

DAY = 86_400.0


def quick_clock() -> Clock:
    """A clock on which a sleep passes at once."""
    slept = [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    return Clock(now=lambda: slept[0], sleep=sleep)


def printed(*command: str) -> str:
    """What a command of ``flextier`` writes to the terminal."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(command) == 0
    return out.getvalue()


def calls(sim: Simulator, *sinks: Any) -> dict[str, Any]:
    """Calls over the made-up lanes, and what they cost."""
    client = FlexOpenAI(base_url=sim.base_url, api_key="sk-made-up", clock=quick_clock())
    real = FlexOpenAI(base_url=sim.base_url, api_key="sk-batches")  # a batch is a thread

    def ask(model: str, client: FlexOpenAI = client, **policy: Any) -> None:
        client.with_options(policy=policy).responses.create(model=model, input="Hello")

    with track() as reports, record_calls(*sinks) as totals, client, real:
        ask("o3", lanes=("saver",))
        sim.script(Fault.status(500).on(lane="saver"))
        ask("o3", lanes=("saver", "standard"), max_retries=0)
        ask("gpt-4.1", lanes="auto", deadline=60)
        ask("gpt-6.2-sol", lanes="auto", deadline=3 * DAY, batch_window=0.01)
        ask("o3", real, lanes=("slow-batch",), batch_window=0.01, batch_poll_interval=0.05)
    return {
        "attempts": [[f"{x.lane}:{x.outcome}" for x in report.attempts] for report in reports],
        "lanes": [report.lane for report in reports],
        "shares": [_share(report.cost) for report in reports],
        "totals": {lane: sums.calls for lane, sums in totals.by_lane.items()},
        "served": sim.stats()["served"],
    }


def _share(cost: Any) -> float:
    return float(cost.total / cost.standard)


def main_program() -> None:
    """Print everything."""
    with TemporaryDirectory() as folder, Simulator() as sim:
        ledger, page = f"sqlite:///{folder}/calls.db", Path(folder, "report.html")
        with Ledger(ledger, flush_every=0) as stored:
            said = calls(sim, stored.add)
        said["rows"] = printed("report", "--ledger", ledger, "--format", "table")
        main(("report", "--ledger", ledger, "--format", "html", "--output", str(page)))
        said["page"] = page.read_text(encoding="utf-8")
    said["prices"] = printed("prices", "o3")
    plan = explain("gpt-4.1", deadline=60)
    said["explain"], said["explain_json"] = table(plan), as_json(plan)
    said["unsupported"] = explain("o3", policy={"lane_support": {"o3": ("flex",)}}).why
    said["chat"] = explain("gpt-4.1", deadline=60, api="chat").why
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main_program()
