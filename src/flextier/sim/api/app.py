"""The ASGI application: which path leads to which endpoint, and what frames all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from flextier.sim.api import background, batches, endpoints, response_faults
from flextier.sim.api.access import check_host, check_token
from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.exchange import ClientLeft, Exchange, Receive, Scope, Send
from flextier.sim.model import embeddings
from flextier.sim.protocol import chat, responses
from flextier.sim.stores.world import World

Handler = Callable[[Exchange, World, str], Awaitable[None]]
Routes = Mapping[tuple[str, str], Handler]

API: Routes = {
    ("POST", chat.PATH): endpoints.answer_chat,
    ("POST", responses.PATH): endpoints.answer_responses,
    ("GET", "/v1/responses/{id}"): background.show,
    ("DELETE", "/v1/responses/{id}"): background.delete,
    ("POST", "/v1/responses/{id}/cancel"): background.cancel,
    ("POST", embeddings.PATH): endpoints.embed,
    ("GET", "/v1/models"): endpoints.list_models,
    ("GET", "/v1/models/{id}"): endpoints.show_model,
    ("POST", "/v1/files"): endpoints.upload_file,
    ("GET", "/v1/files"): endpoints.list_files,
    ("GET", "/v1/files/{id}"): endpoints.show_file,
    ("GET", "/v1/files/{id}/content"): endpoints.download_file,
    ("DELETE", "/v1/files/{id}"): endpoints.delete_file,
    ("POST", "/v1/batches"): batches.create_batch,
    ("GET", "/v1/batches"): batches.list_batches,
    ("GET", "/v1/batches/{id}"): batches.show_batch,
    ("POST", "/v1/batches/{id}/cancel"): batches.cancel_batch,
}

# Steering is no traffic: it needs no key and is not counted.
CONTROL: Routes = {
    ("GET", "/stats"): endpoints.show_stats,
    ("GET", "/sim/paid"): endpoints.show_paid,
    ("POST", "/sim/script"): endpoints.add_faults,
    ("POST", "/sim/batches"): endpoints.add_outcomes,
    ("POST", "/sim/background"): endpoints.add_background_outcomes,
    ("POST", "/sim/weather"): endpoints.set_weather,
    ("POST", "/sim/reset"): endpoints.reset,
}

# These have faults of their own: scripted ones without a path, and the weather's.
ANSWERS = (chat.PATH, responses.PATH)

UNKNOWN = "(unknown)"


class App:
    """The simulated API over a :class:`World`, as an ASGI application.

    Args:
        world: what is served.
        token: what requests that steer it must name.
    """

    def __init__(self, world: World, token: str) -> None:
        self._world = world
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        outcome = "crashed"
        try:
            await self._serve(exchange)
        except Rejected as rejected:
            if rejected.reply.outcome == "misused":
                self._world.accounts.warn(rejected.reply.message)
            await exchange.fail(rejected.reply)
        except ClientLeft:
            outcome = "abandoned"
        finally:
            exchange.settle(outcome)

    async def _serve(self, exchange: Exchange) -> None:
        check_host(exchange.headers, as_proxy=exchange.as_proxy)
        control = CONTROL.get((exchange.method, exchange.path))
        if control is not None:
            await self._steer(control, exchange)
        else:
            await self._enter(exchange)

    async def _enter(self, exchange: Exchange) -> None:
        handler, route, name = _find(exchange.method, exchange.path)
        exchange.open(self._world.accounts, route)
        if "authorization" not in exchange.headers:
            raise Rejected(api_errors.no_key())
        if handler is None:
            raise Rejected(api_errors.no_such_path(exchange.method, exchange.path))
        run = partial(handler, exchange, self._world, name)
        fault = None
        if route not in ANSWERS:
            account = exchange.headers["authorization"]
            fault = self._world.next_other_fault(exchange.method, exchange.path, route, account)
        await (run() if fault is None else response_faults.play(exchange, fault.action, run))

    async def close(self) -> None:
        """End what goes on without a request."""
        await self._world.batches.close()

    async def _steer(self, control: Handler, exchange: Exchange) -> None:
        if exchange.method == "POST":
            check_token(exchange.headers, self._token)
        try:
            await control(exchange, self._world, "")
        except ValueError as error:
            raise Rejected(api_errors.invalid("body", str(error))) from error


def _find(method: str, path: str) -> tuple[Handler | None, str, str]:
    """The endpoint of a path, the path it is counted under, and the id in it."""
    exact = API.get((method, path))
    if exact is not None:
        return exact, path, ""
    parts = path.split("/")
    name, parts[3:4] = "".join(parts[3:4]), ["{id}"]
    template = "/".join(parts)
    handler = API.get((method, template))
    return handler, template if handler else UNKNOWN, name
