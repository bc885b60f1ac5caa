"""Can I keep what my programs spend, add it up across runs, and show it to others?"""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import mkdtemp

from flextier import FlexOpenAI
from flextier.cli import main
from flextier.costs import Ledger, record_calls

folder = Path(mkdtemp(prefix="flextier-"))
file = folder / "flextier.db"
client = FlexOpenAI()


def nightly_run(topics: list[str]) -> None:
    """What a program does each time: every call goes into the ledger, without waiting for it."""
    with Ledger(file) as ledger, record_calls(ledger.add, tags=("nightly",)):
        for topic in topics:
            client.responses.create(model="o4-mini", input=f"Explain {topic} in one sentence.")


nightly_run(["tides", "foam"])
nightly_run(["yeast"])  # another run, another process: any number of them may share the file

# Handlers of frameworks take a ledger, too: FlexCostCallbackHandler(on_record=ledger.add) for
# LangChain, FlexCostEventHandler(on_record=ledger.add) for LlamaIndex.

with Ledger(file, readonly=True) as ledger:
    print(ledger.totals(since=datetime.now(timezone.utc) - timedelta(days=7), tag="nightly"))
    for (hour, lane), sums in ledger.sums("hour_of_day", "lane").items():
        print(
            f"{hour} h UTC, {lane}: {sums.calls} calls, {sums.refusals} refusals, ${sums.saved:f}"
        )

# The same as `flextier report --ledger flextier.db …` in a shell.
main(["report", "--ledger", str(file), "--since", "7d", "--by", "lane"])
page = folder / "report.html"
main(["report", "--ledger", str(file), "--format", "html", "--output", str(page)])
print(f"\n{page}: {page.stat().st_size:,} bytes, one file that needs no network")
