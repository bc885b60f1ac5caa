"""What a failed attempt means for its call, and for what is known of its lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier.capacity import LaneKey
from flextier.lanes import FLEX, STANDARD
from flextier.lanes.failures import Failure, Kind, classify, may_reject_stream_options
from flextier.lanes.rate_limits import refused_limit
from flextier.lanes.refused_field import refused_field
from flextier.lanes.retry_after import retry_after, retry_forbidden
from flextier.planning.fallback import FailedAttempt, Send

if TYPE_CHECKING:
    from flextier.routing.call import CallState


def decide(state: CallState, failure: Failure) -> Kind:
    """Record a failed attempt, and set the call's next step; the kind of the failure."""
    ladder, clock, lane = state.ladder, state.setting.clock, state.ladder.lane
    kind = classify(failure, lane)
    if without_field := _rejects_field(state, failure):
        kind = "lane_unsupported"
    if kind == "stream_unverified" and not state.call.stream:
        kind = "rejected"  # the call is no stream, so a call without one does not help
    added = state.adds_usage and kind in ("rejected", "transient")
    state.usage_refused = state.usage_refused or (added and may_reject_stream_options(failure))
    outcome = "usage_unsupported" if state.adds_usage and state.usage_refused else kind
    now = clock.now()
    state.log.attempt_ended(now, outcome, failure.status, failure.request_id, failure.sent)
    event = FailedAttempt(
        kind=kind,
        now=now,
        jitter=clock.random(),
        hint=retry_after(failure, kind, clock.wall()),
        no_retry=retry_forbidden(failure),
        refused=refused_limit(failure.type, failure.message, failure.headers),
    )
    if kind != "rate_limited":
        state.admission.headers_received(failure.headers, now)
    _update_lane_status(state, event, failure)
    state.is_retry = True
    if outcome == "usage_unsupported" or (without_field and state.tier == STANDARD.service_tier):
        state.is_retry = False
        state.step = Send(lane)
    elif kind == "lane_unsupported" and (other := lane.alternative_for(failure)) is not None:
        state.step = ladder.replace_lane(other, now)
    elif _is_alone(failure) and (following := ladder.skip_lane()) is not None:
        # The call starts on the next lane, and this is no retry.
        state.is_retry = False
        if state.setting.burst is not None:
            state.setting.burst.window_expired()
        state.first_lane = following.name
        state.step = ladder.start(now)
    else:
        state.step = ladder.failed(event)
    if state.lines is not None and isinstance(state.step, Send):
        wait = max(state.step.wait, state.admission.opens_in(now))
        state.lines.failed(state.log.attempts, ladder.lane.name, wait)
    return kind


def _rejects_field(state: CallState, failure: Failure) -> bool:
    """Whether the server rejects the field ``service_tier``, which it is not sent again then."""
    where = refused_field(failure) if state.tier and state.call.tier is None else ""
    if not where or (where == "model" and state.tier != STANDARD.service_tier):
        return False  # what is said of a model may be about this tier only
    model, base_url = state.call.model, state.setting.account.base_url
    state.setting.capacity.refuse_field(
        "service_tier", base_url, "" if where == "server" else model
    )
    return True


def _is_alone(failure: Failure) -> bool:
    """Whether too few calls came together for a batch."""
    return failure.fault == "unfinished" and failure.code == "alone"


def _update_lane_status(state: CallState, event: FailedAttempt, failure: Failure) -> None:
    lane, setting = state.ladder.lane, state.setting
    if (entry := setting.entry) is not None:
        if entry.background_response is not None:
            entry.discard_background()
        elif lane.batched and event.kind == "timeout":
            entry.stop_waiting()
        elif lane.batched:
            entry.batch_line_failed()
    unsupported = event.kind == "lane_unsupported" and lane.unsupported(failure)
    if unsupported and lane.unsupported_by_model(failure):
        where, capacity = (*setting.account, state.call.model), setting.capacity
        capacity.mark_unsupported(LaneKey(*where, lane.key))
        if lane.alternative_for(failure) is None:
            capacity.mark_unsupported(LaneKey(*where, (lane.fallback_variant or lane).key))
            state.why = state.why or state.plan.status.rejected([lane])
            if lane.name == FLEX.name and not refused_field(failure):
                from flextier.planning.without_flex import warn_without_flex  # it loads prices

                policy = setting.policy
                warn_without_flex(state.call.model, policy.lanes, policy.lane_support)
    state.admission.failed(event)
