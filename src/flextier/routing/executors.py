"""What carries out an attempt: the SDK, for direct lanes; a batch, the background, the journal.

An executor is a generator of steps, as the whole course of a call is: ``driver.py`` takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from flextier.calls.answer import Answer
from flextier.lanes import CallFacts
from flextier.lanes.failures import Failure
from flextier.routing.steps import Served, Steps

if TYPE_CHECKING:
    from flextier.routing.call import CallState


Executor: TypeAlias = "Callable[[CallState, Callable[[], Any]], Steps[Served]]"
"""Returns the steps of the attempt that the state has begun; what goes wrong is raised.

It is given the state, and what makes a wait that another thread or task can end.
"""


class Transport(Protocol):
    """The SDK, for one call: executes direct attempts, and knows the SDK's exceptions."""

    def attempt(self, state: CallState, new_wait: Callable[[], Any]) -> Steps[Served]:
        """The :data:`Executor` of direct lanes."""

    answer: Answer | None
    """The facts of the current attempt's answer, once it was read; None: it was not."""

    client: Any
    """The SDK's client."""
    options: Any
    """The SDK's options of the call."""

    @property
    def ends_reads_in_time(self) -> bool:
        """Whether a limit of this process ends reads, and not only a socket's."""

    def check_open(self) -> None:
        """Raise if the client was closed, possibly while the call waited.

        Raises:
            ClientClosedError: it was.
        """

    def facts(self) -> CallFacts:
        """What lanes and the journal need of the call: its body without fields of lanes."""

    def read(self, state: CallState, response: Any) -> Steps[Served]:
        """The end of an attempt whose HTTP response came in another way."""

    def send_raw(self, options: Any) -> Any:
        """Send a request of a background response, with the SDK's options for it."""

    def new_request(self) -> Any:
        """A request object, for an error or a response that must carry one."""

    def failure_of(self, error: Exception) -> Failure | None:
        """An exception as a failure; None if it is no failure of an attempt."""

    def failed_response(self, failure: Failure) -> Exception:
        """The error for a response that reports a failure."""

    def unavailable(self, message: str) -> Exception:
        """The error for a call that its last lane has never admitted."""

    def deadline_exceeded(self, message: str, request: Any) -> Exception:
        """The error for a call that no lane has answered by the deadline."""


def deferred_executor(state: CallState) -> Executor:
    """The executor of a lane that is not direct; the journal's, if that has the response, and a
    quote's, if that makes it."""
    from flextier.routing import deferred  # most programs need none of them

    if state.setting.scope.local is not None:
        return deferred.local
    if state.journaled is not None:
        return deferred.replay
    return deferred.batch if state.ladder.lane.batched else deferred.background
