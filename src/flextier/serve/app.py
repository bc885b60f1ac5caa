"""The gateway as an ASGI application: which path leads where, and what a call goes through."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from flextier.batch import detach
from flextier.calls.context import listen, scoped
from flextier.calls.report import CallReport, Retry
from flextier.journal.call_entry import CALL_ENTRIES
from flextier.serve import log
from flextier.serve.access import TOKEN, Access, is_loopback
from flextier.serve.answer_response import AnswerResponse
from flextier.serve.bodies import BodyTooLarge, BodyTooSlow, json_object
from flextier.serve.call_frames import CallFrames, retry_to_dict
from flextier.serve.call_headers import FRAMES, CallHeaders
from flextier.serve.calls import Calls, IdInUse, digest
from flextier.serve.error_answers import ErrorAnswer, error_answer, refusal, too_busy
from flextier.serve.headers import sent_by_sdk
from flextier.serve.held_bodies import BodiesFull, HeldBodies
from flextier.serve.operation import Operation
from flextier.serve.options import GatewayOptions
from flextier.serve.pass_through import as_response, pass_through
from flextier.serve.records import Records
from flextier.serve.running_call import RunningCall
from flextier.serve.tokens import Token
from flextier.serve.upstream import ROUTED, Upstream, preload

if TYPE_CHECKING:
    from flextier.ledger import Ledger

_HANDED_OVER = 5.0
"""Seconds in which calls that a journal has must end."""
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")
"""A part of a path that would lead out of the upstream's base URL."""


class Gateway:
    """What the requests share: upstreams, calls, options."""

    def __init__(self, options: GatewayOptions, ledger: Ledger | None = None) -> None:
        self.options = options
        self.records = Records(options.tokens, ledger)
        self.draining = False
        """Whether the gateway ends, and takes no more calls."""
        self.calls = Calls()
        self.bodies = HeldBodies(options.max_body_memory)
        self.upstreams = {
            one.name: Upstream(
                one.name, one.base_url, one.api_key, options.policy, options.max_calls
            )
            for one in options.upstreams
        }

    def app(self) -> ASGIApp:
        """The application."""
        options = self.options
        any_host = bool(options.tokens) and not is_loopback(options.host) and not options.hosts
        return Access(self._routes(), options.tokens, options.hosts, any_host=any_host)

    def _routes(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/flextier/calls/{id}", self.show_call, methods=["GET"]),
                Route("/flextier/calls/{id}", self.cancel_call, methods=["DELETE"]),
                Route("/flextier/calls/{id}/answer", self.answer, methods=["GET"]),
                *Operation(self).routes(),
                Route("/v1/{path:path}", self.api, methods=_METHODS),
                Route("/{upstream}/v1/{path:path}", self.api, methods=_METHODS),
            ],
            exception_handlers={HTTPException: _no_route, Exception: _failed},
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False
        return app

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        preload()
        yield
        await self.end_calls()
        for upstream in self.upstreams.values():
            await upstream.close()
        if self.records.ledger is not None:
            await asyncio.to_thread(self.records.ledger.close)

    def drain(self) -> None:
        """Take no more calls."""
        self.draining = True
        self.bodies.refuse_arriving()

    async def end_calls(self) -> None:
        """End the calls that run: those that a journal has are handed over to the next start."""
        self.drain()
        left = self.calls.running - detach()
        with anyio.move_on_after(_HANDED_OVER):
            while self.calls.running > left:  # those end by themselves
                await anyio.sleep(0.02)
        await self.calls.end_all()

    # --- the API ----------------------------------------------------------------------------------

    async def api(self, request: Request) -> Response:
        """A request to an upstream's API."""
        upstream = self.upstreams.get(request.path_params.get("upstream", ""))
        raw_path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        path, plain = raw_path.partition("/v1/")[2], request.path_params["path"]
        if upstream is None or _DOTS.search(plain):
            return as_response(_NO_PATH)
        plain = "/".join(filter(None, plain.split("/")))  # as servers read it
        try:
            if request.method == "POST" and plain in ROUTED:
                return await self._call(request, upstream, plain)
            return await pass_through(
                request, upstream, path, max_bytes=self.options.max_upload_bytes
            )
        except BodyTooLarge:
            answer = refusal(413, "too_large", "the body is larger than the gateway takes")
        except BodyTooSlow:
            answer = refusal(408, "timeout", "the body does not arrive")
        except BodiesFull:
            answer = too_busy(_ENDS if self.draining else "there is no memory left for the body")
        except ClientDisconnect:
            return Response(status_code=499)
        return as_response(answer)

    async def _call(self, request: Request, upstream: Upstream, path: str) -> Response:
        if request.headers.get("content-encoding", "identity") != "identity":
            return as_response(refusal(415, "encoded", "the gateway reads bodies as they are only"))
        data, held = await self.bodies.read(request, self.options.max_body_bytes)
        with ExitStack() as holding:
            holding.callback(self.bodies.release, held)
            return self._joined_or_made(request, upstream, path, data, holding)

    def _joined_or_made(
        self, request: Request, upstream: Upstream, path: str, data: bytes, holding: ExitStack
    ) -> Response:
        options = self.options
        try:
            body = json_object(data)
        except ValueError as error:
            return as_response(refusal(400, "invalid_json", f"the body cannot be used: {error}"))
        stream = bool(body.get("stream"))
        try:
            asked = CallHeaders.of(
                request.headers, options.policy, owner=_owner(request), stream=stream
            )
            headers = sent_by_sdk(request.headers.items())
        except ValueError as error:  # also a PolicyError
            return as_response(refusal(400, "invalid_policy", str(error)))
        key = digest(_owner(request), f"{upstream.name}/{path}", data)
        try:
            call = self.calls.repeated(
                key, asked.call_id, owner=_owner(request), is_repeat=asked.is_repeat
            )
        except IdInUse:
            return as_response(refusal(409, "id_in_use", "another call has this x-flextier-call"))
        if call is None:
            if self.draining or self.calls.running >= options.max_calls:
                why = f"{options.max_calls} calls run or wait already"
                return as_response(too_busy(_ENDS if self.draining else why))
            send = partial(upstream.post, path, request.url.query, body, headers)
            call = RunningCall(
                partial(self._make, asked, _token(request), send),
                call_id=asked.call_id,
                owner=_owner(request),
                stream=stream,
                framed=asked.framed,
                may_repeat=asked.may_repeat,
            )
            model = str(body.get("model", ""))[:100]
            release = holding.pop_all().close
            call.on_end = partial(self._ended, release, upstream.name, path, model)
            self.calls.add(key, call)
        quiet = min(options.quiet, (asked.read_timeout or math.inf) * 0.6)
        return (CallFrames if asked.framed else AnswerResponse)(call, quiet)

    def _ended(
        self, release: Callable[[], None], upstream: str, path: str, model: str, call: RunningCall
    ) -> None:
        release()
        self.calls.ended(call)
        log.call_ended(call, upstream, path, model)

    async def _make(
        self,
        asked: CallHeaders,
        token: Token | None,
        send: Callable[[], Awaitable[Any]],
        call: RunningCall,
    ) -> Any:
        """Make a call under what its headers say, at the expense of its token."""
        CALL_ENTRIES.set(call.journal_entries)
        run, records = asked.run, self.records
        fields: dict[str, Any] = {"changes": tuple(sorted(asked.changes.items()))}
        if run is not None:
            fields["run"] = lambda: run
        if token is not None and token.budget is not None:
            fields["budgets"] = ((records.spending[token.name], token.budget),)

        def on_report(report: CallReport) -> None:
            call.reported(report)
            records.add(report, token, asked.tags)

        def on_retry(retry: Retry) -> None:
            call.retried(retry_to_dict(retry))

        with scoped(**fields), listen(on_report, on_retry if call.framed else None):
            return await send()

    # --- calls ------------------------------------------------------------------------------------

    async def show_call(self, request: Request) -> Response:
        """What is known of a call: its state, its report, its cost."""
        call = self._found(request)
        return as_response(_NO_CALL) if call is None else JSONResponse(call.to_dict())

    async def answer(self, request: Request) -> Response:
        """The answer of a call, once more."""
        if (call := self._found(request)) is None:
            return as_response(_NO_CALL)
        kind = CallFrames if request.headers.get(FRAMES) == "1" else AnswerResponse
        return kind(call, self.options.quiet)

    def _found(self, request: Request) -> RunningCall | None:
        return self.calls.get(request.path_params["id"], _owner(request))

    async def cancel_call(self, request: Request) -> Response:
        """Cancel a call, and show it."""
        call = self._found(request)
        if call is None:
            return as_response(_NO_CALL)
        call.cancel()
        await call.ended()
        return JSONResponse(call.to_dict())


_ENDS = "the gateway ends"
_NO_PATH: ErrorAnswer = refusal(404, "not_found", "the gateway serves no such path")
_NO_CALL: ErrorAnswer = refusal(404, "not_found", "no call of the last ten minutes has this id")


async def _no_route(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException) or error.status_code == 404:
        return as_response(_NO_PATH)
    headers = tuple((error.headers or {}).items())
    return as_response(refusal(error.status_code, "method_not_allowed", error.detail, *headers))


async def _failed(_: Request, error: Exception) -> Response:
    return as_response(error_answer(error))


def _token(request: Request) -> Token | None:
    """The request's token; None: none is needed."""
    token: Token | None = request.scope.get(TOKEN)
    return token


def _owner(request: Request) -> str:
    token = _token(request)
    return "" if token is None else token.name
