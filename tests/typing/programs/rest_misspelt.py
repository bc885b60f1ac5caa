"""Costs, ledgers, datasets, the simulator and rehearsals with misspelt names."""

# pyright: strict

import flextier.costs
from flextier import budget, continuation, report_of, wrap
from flextier.bulk import run
from flextier.costs import Ledger, record_calls
from flextier.rehearsal import rehearse
from flextier.rehearsal.trace import Trace
from flextier.sim import Simulator, Weather
from flextier.transport import async_http_client, sync_http_client


def ask(text: str) -> str:
    """Ask one question."""
    return text


record_calls(print, tag=["nightly"])  # error
budget(5, scop="process")  # error
continuation("review-7", kep=True)  # error
wrap(ask)(5)  # error
report_of("error")  # error
Ledger("sqlite:///calls.db").totals(modle="o3")  # error
Ledger("sqlite:///calls.db").records(lan="flex")  # error
Ledger("sqlite:///calls.db").sums("dai")  # error
run(ask, "questions.csv", "answers.csv", key="id", lane="flex")  # error
rehearse("outages", policy={"patiense": "5m"})  # error
rehearse("outages", job=20)  # error
Trace().replace(job=20)  # error
Simulator(wether=Weather())  # error
Weather(slot=3)  # error
Weather.random(seed=1, mean_open=60, mean_shut=60, slot=4)  # error
sync_http_client(trust_environment=True)  # error
async_http_client(aiohtp=False)  # error
print(flextier.FlexOpenAi)  # error
print(flextier.costs.CostTotal)  # error
