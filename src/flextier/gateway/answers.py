"""What a gateway's words are for the caller: HTTP responses, the SDK's errors, and reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import openai

from flextier._openai.error_transfer import error_from_dict
from flextier._openai.http_library import http
from flextier.calls.report import SERVED, Attempt, CallReport
from flextier.gateway.connections import KnownGateway
from flextier.lanes import tier_lane
from flextier.routing.call import CallSetting
from flextier.transport.streams import StreamProgress


@dataclass(frozen=True)
class GatewayAnswers:
    """The responses and errors of one call, as if the client had received them itself."""

    exchange: Any
    """The client's ``CallExchange``."""
    setting: CallSetting
    gateway: KnownGateway
    started_at: float

    def response(self, status: int, headers: Iterable[Any], content: Any) -> Any:
        """An HTTP response; ``content``: bytes or a stream."""
        body = {"content": content} if isinstance(content, bytes) else {"stream": content}
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        response = http.Response(status, headers=kept, request=self.exchange.new_request(), **body)
        # The SDK's raw responses read it.
        response.elapsed = timedelta(seconds=self.setting.clock.now() - self.started_at)
        return response

    def error(self, value: dict[str, Any]) -> Exception:
        """The error that the gateway's call has ended with."""
        status, response = value.get("status"), None
        if status is not None:
            content = value["body"].encode("utf-8", "replace")
            response = self.response(status, value["headers"], content)
        given = value["error"]
        if given is None and response is not None:  # the gateway's own words
            return self._status_error(response)
        return self.rebuilt(given, response)

    def rebuilt(self, data: dict[str, Any] | None, response: Any = None) -> Exception:
        """An error that was sent as data."""
        request = self.exchange.new_request()
        if data is None:
            return openai.APIConnectionError(message="the call failed", request=request)
        return error_from_dict(data, request, response)

    def refusal(self, response: Any, why: str) -> Exception:
        """The error for a response of the gateway that is no answer to a call."""
        answer = self.response(response.status_code, [], response.content)
        error: Any = self._status_error(answer)
        message = f"the gateway {self.gateway.url} (FLEXTIER_GATEWAY): {why}"
        error.message, error.args = message, (message,)
        return error  # type: ignore[no-any-return]

    def deadline_exceeded(self) -> Exception:
        """The error for a call that the gateway has not answered in time."""
        deadline = self.setting.policy.deadline
        error: Exception = self.exchange.deadline_exceeded(
            f"no answer of the gateway {self.gateway.url} within the deadline of {deadline:g} s; "
            "raise FlexPolicy.deadline (FLEXTIER_DEADLINE), or the end that override(until=...) "
            "sets",
            None,
        )
        return error

    def _status_error(self, response: Any) -> Exception:
        error: Exception = self.exchange.client._make_status_error_from_response(response)
        return error


def stream_report(
    report: CallReport, outcome: str, progress: StreamProgress, seconds: float
) -> CallReport:
    """The report of a stream that has ended before the gateway's report of it came."""
    lane = tier_lane(progress.tier or "default").name
    return replace(
        report,
        lane=lane,
        attempts=(Attempt(lane, outcome, seconds, 200, progress.request_id),),
        usage=progress.usage if outcome == SERVED else None,
        served_model=progress.model,
    )
