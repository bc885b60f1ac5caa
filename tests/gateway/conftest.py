"""Clients of a gateway that runs in this process, on a port, before the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flextier.gateway.connections import _GATEWAYS
from flextier.serve.access import Access
from flextier.sim import Simulator
from tests.client.callers import CALLERS, STREAMS
from tests.serve.conftest import Served, gateway


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each way to make a call that it asks for."""
    for name, callers in (("caller", CALLERS), ("stream", STREAMS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, callers, ids=str)


@pytest.fixture(scope="module")
def shared(flextier_sim_server: Simulator) -> Iterator[Served]:
    """A gateway that the tests of a module share, with the policy of a client without one."""
    with gateway(flextier_sim_server, policy={"backoff_initial": 1, "patience": None}) as served:
        yield served


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


class Seen(list[Any]):
    """The requests that gateways have received: method and path with query, headers."""

    @property
    def calls(self) -> list[Any]:
        """Those that make calls."""
        return [one for one in self if one[0].startswith("POST")]

    @property
    def text(self) -> str:
        """All of them."""
        return "\n".join(f"{line} {headers}" for line, headers in self)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What gateways receive from now on."""
    requests, check = Seen(), Access.__call__

    async def noted(access: Access, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            query = scope["query_string"].decode()
            line = f"{scope['method']} {scope['path']}{'?' if query else ''}{query}"
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            requests.append((line, headers))
        await check(access, scope, receive, send)

    monkeypatch.setattr(Access, "__call__", noted)
    return requests


@pytest.fixture(autouse=True)
def no_gateway_is_known() -> Iterator[None]:
    """No test knows what another has learnt of a gateway."""
    _GATEWAYS.clear()
    yield
    _GATEWAYS.clear()


@pytest.fixture
def own_sim() -> Iterator[Simulator]:
    """A simulator that no gateway serves."""
    with Simulator() as simulator:
        yield simulator
