"""The gateway as an ASGI application: which path leads where, and what a call goes through."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from flextier.calls.context import listen
from flextier.calls.report import CallReport
from flextier.serve.access import TOKEN, Access, is_loopback
from flextier.serve.answer_response import AnswerResponse
from flextier.serve.bodies import BodyTooLarge, BodyTooSlow, json_object, limited
from flextier.serve.calls import Calls, digest
from flextier.serve.error_answers import ErrorAnswer, refusal, too_busy
from flextier.serve.headers import sent_by_sdk
from flextier.serve.options import GatewayOptions
from flextier.serve.pass_through import as_response, pass_through
from flextier.serve.running_call import RunningCall
from flextier.serve.tokens import Token
from flextier.serve.upstream import ROUTED, Upstream

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
_DOTS = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")
"""A part of a path that would lead out of the upstream's base URL."""


class Gateway:
    """What the requests share: upstreams, calls, options."""

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.calls = Calls()
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
        return Starlette(
            routes=[
                Route("/flextier/calls/{id}", self.show_call, methods=["GET"]),
                Route("/flextier/calls/{id}", self.cancel_call, methods=["DELETE"]),
                Route("/v1/{path:path}", self.api, methods=_METHODS),
                Route("/{upstream}/v1/{path:path}", self.api, methods=_METHODS),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        yield
        await self.calls.end_all()
        for upstream in self.upstreams.values():
            await upstream.close()

    # --- the API ----------------------------------------------------------------------------------

    async def api(self, request: Request) -> Response:
        """A request to an upstream's API."""
        upstream = self.upstreams.get(request.path_params.get("upstream", ""))
        raw_path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        path = raw_path.partition("/v1/")[2]
        if upstream is None or _DOTS.search(request.path_params["path"]):
            return as_response(refusal(404, "not_found", "the gateway serves no such path"))
        try:
            if request.method == "POST" and path in ROUTED:
                return await self._call(request, upstream, path)
            return await pass_through(
                request, upstream, path, max_bytes=self.options.max_upload_bytes
            )
        except BodyTooLarge:
            answer = refusal(413, "too_large", "the body is larger than the gateway takes")
        except BodyTooSlow:
            answer = refusal(408, "timeout", "the body does not arrive")
        except ClientDisconnect:
            return Response(status_code=499)
        return as_response(answer)

    async def _call(self, request: Request, upstream: Upstream, path: str) -> Response:
        options = self.options
        if self.calls.running >= options.max_calls:
            return as_response(too_busy(f"{options.max_calls} calls run or wait already"))
        if request.headers.get("content-encoding", "identity") != "identity":
            return as_response(refusal(415, "encoded", "the gateway reads bodies as they are only"))
        data = b"".join([part async for part in limited(request, options.max_body_bytes)])
        try:
            body = json_object(data)
        except ValueError as error:
            return as_response(refusal(400, "invalid_json", f"the body is no JSON: {error}"))
        headers, query = sent_by_sdk(request.headers.items()), request.url.query

        async def make(on_report: Callable[[CallReport], None]) -> Any:
            with listen(on_report=on_report):
                return await upstream.post(path, query, body, headers)

        may_repeat = "x-stainless-retry-count" in request.headers
        call = RunningCall(
            make,
            owner=_owner(request),
            stream=bool(body.get("stream")),
            may_repeat=may_repeat,
        )
        call.on_end = self.calls.ended
        self.calls.add(digest(_owner(request), f"{upstream.name}/{path}", data), call)
        return AnswerResponse(call, options.quiet)

    # --- calls ------------------------------------------------------------------------------------

    async def show_call(self, request: Request) -> Response:
        """What is known of a call: its state, its report, its cost."""
        call = self._found(request)
        return as_response(_NO_CALL) if call is None else JSONResponse(call.to_dict())

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


_NO_CALL: ErrorAnswer = refusal(404, "not_found", "no call of the last ten minutes has this id")


def _owner(request: Request) -> str:
    """The name of the request's token; empty where none is needed."""
    token: Token | None = request.scope.get(TOKEN)
    return "" if token is None else token.name
