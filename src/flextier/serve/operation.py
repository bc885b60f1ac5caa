"""The pages for who runs a gateway: health, metrics, status, report."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from flextier._utils.extras import needs_extra
from flextier._version import __version__
from flextier.capacity.snapshot import capacity_snapshot
from flextier.serve.error_answers import refusal
from flextier.serve.metrics import CONTENT_TYPE, metrics
from flextier.serve.pass_through import as_response

if TYPE_CHECKING:
    from flextier.ledger import Ledger
    from flextier.serve.app import Gateway


class Operation:
    """The pages of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._started = datetime.now(timezone.utc)

    def routes(self) -> list[Route]:
        """Their paths."""
        pages = (self.healthz, self.readyz, self.metrics, self.status, self.report)
        return [
            *(Route(f"/{page.__name__}", page, methods=["GET"]) for page in pages),
            Route("/flextier/upstreams", self.upstreams, methods=["GET"]),
        ]

    async def healthz(self, _: Request) -> Response:
        """Whether the process serves."""
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        """Whether it takes calls: it does not while it ends."""
        if self._gateway.draining:
            return PlainTextResponse("ending", 503)
        return PlainTextResponse("ok")

    async def metrics(self, _: Request) -> Response:
        """What Prometheus collects."""
        gateway = self._gateway
        page = metrics(gateway.records, capacity_snapshot(), running=gateway.calls.running)
        return Response(page, media_type=CONTENT_TYPE)

    async def status(self, _: Request) -> Response:
        """Capacity, queue, spending, upstreams."""
        gateway = self._gateway
        records, options = gateway.records, gateway.options
        by_token = records.totals.copy().by_tag
        spent = [
            {
                "name": token.name,
                "spent": f"{by_token[token.name].cost if token.name in by_token else 0:f}",
                "budget": None if token.budget is None else f"{token.budget:f}",
            }
            for token in options.tokens
        ]
        return JSONResponse(
            {
                "version": __version__,
                "started_at": self._started.isoformat(),
                "ending": gateway.draining,
                "calls": {"running": gateway.calls.running, "most": options.max_calls},
                "upstreams": self._upstreams(),
                "lanes": [_finite(state.to_dict()) for state in capacity_snapshot()],
                "tokens": spent,
                "totals": records.totals.to_dict(),
            }
        )

    async def upstreams(self, _: Request) -> Response:
        """Which base URLs are served, and where: what flextier's clients ask once."""
        return JSONResponse({"version": __version__, "upstreams": self._upstreams()})

    def _upstreams(self) -> list[dict[str, str]]:
        return [
            {
                "name": one.name,
                "path": f"{'/' * bool(one.name)}{one.name}/v1",
                "base_url": one.base_url,
            }
            for one in self._gateway.options.upstreams
        ]

    async def report(self, request: Request) -> Response:
        """The page of ``flextier report`` on the gateway's ledger."""
        ledger = self._gateway.records.ledger
        if ledger is None:
            return as_response(refusal(404, "no_ledger", "--ledger or FLEXTIER_LEDGER is not set"))
        since = request.query_params.get("since", "7d")
        try:
            return HTMLResponse(await asyncio.to_thread(_report_page, ledger, since))
        except (ImportError, ValueError) as error:
            return as_response(refusal(400, "no_report", str(error)))


def _report_page(ledger: Ledger, since: str) -> str:
    with needs_extra("report"):
        from flextier.report.aggregates import summarise
        from flextier.report.page import page
        from flextier.report.period import period_of

    period = period_of(since, "now", "UTC", datetime.now(timezone.utc))
    with ledger.reading() as connection:
        sessions = ledger.sessions()
        summary = summarise(connection, period, ledger="the gateway's", sessions=sessions)
    return page(summary)


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields as JSON has them: without infinity, and without a hash of a key."""
    return {k: None if v == math.inf else v for k, v in fields.items() if k != "account"}
