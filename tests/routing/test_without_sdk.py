"""A call goes through ``routing/`` without any SDK: only a transport is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import flextier

PROGRAM = """
import sys
from types import ModuleType

package = ModuleType("flextier")  # its __init__ exports the SDK's clients
package.__path__ = [sys.argv[1]]
sys.modules["flextier"] = package
sys.modules["openai"] = None  # to import it is an error

from flextier._utils.clock import SYSTEM_CLOCK
from flextier._utils.wakeup import ThreadWait
from flextier.calls.answer import Answer
from flextier.calls.call import Call
from flextier.calls.context import Scope
from flextier.capacity import AccountKey, LimiterRegistry
from flextier.lanes import CallFacts
from flextier.lanes.failures import Failure
from flextier.policy import FlexPolicy
from flextier.routing.call import CallSetting, CallState
from flextier.routing.driver import attempts, drive
from flextier.routing.plan import PlanCache, plan_call
from flextier.routing.steps import Request, Served


class Refused(Exception):
    pass


class Transport:
    answer = None
    ends_reads_in_time = True
    responses = [Refused(), {"model": "o3-2026", "service_tier": "default", "usage": {
        "prompt_tokens": 3, "completion_tokens": 2}}]

    def check_open(self):
        pass

    def attempt(self, state, new_wait):
        response = yield Request(lambda: self.responses.pop(0))
        if isinstance(response, Exception):
            raise response
        self.answer = Answer(response, b"{}", "req-2")
        return Served(response["model"], self.answer, "req-2")

    def failure_of(self, error):
        return Failure(status=429, code="flex_unavailable", request_id="req-1")


account, call = AccountKey("https://example.test/v1", "me"), Call("o3", "/responses", False, {})
reports = []
registry, policy = LimiterRegistry(), FlexPolicy(patience=0)
plans = PlanCache(registry, SYSTEM_CLOCK)
plan = plan_call(call, policy, plans.status(account, "o3"), lambda: CallFacts("/responses", {}))
scope = Scope(reports=(reports.append,))
setting = CallSetting(policy, account, registry, SYSTEM_CLOCK, scope)
state = CallState(call, plan, setting, Transport())
print(drive(attempts(state, ThreadWait), SYSTEM_CLOCK))
(report,) = reports
print(report.lane, report.fallback, [a.outcome for a in report.attempts], report.usage.input_tokens)
print(any(name.split(".")[0] in ("openai", "httpx") and m for name, m in sys.modules.items()))
"""


def test_a_call_without_an_sdk() -> None:
    """Refused on flex, answered on standard; neither the SDK nor its HTTP library is loaded."""
    root = str(Path(flextier.__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, root], capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "o3-2026",
        "standard capacity ['capacity', 'served'] 3",
        "False",
    ]
