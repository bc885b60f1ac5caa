"""What the Batch API's endpoints do; the paths are in ``app.py``."""

from __future__ import annotations

from typing import Any

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.exchange import Exchange
from flextier.sim.base.file_lifetime import read_lifetime
from flextier.sim.base.paging import Page, read_query
from flextier.sim.stores.batch_input import ENDPOINTS
from flextier.sim.stores.batch_job import BatchParameters
from flextier.sim.stores.world import World

PAGE = 20
MOST_ON_A_PAGE = 100
WINDOWS = ("24h",)

# Limits of the API reference.
MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512


async def create_batch(exchange: Exchange, world: World, _: str) -> None:
    """Create a batch; its file is looked at later."""
    order = read_order(await exchange.json(), exchange.headers["authorization"])
    await exchange.reply(world.batches.create(order).describe())


async def show_batch(exchange: Exchange, world: World, name: str) -> None:
    """One batch as it is now."""
    await exchange.reply((await world.batches.get(name)).describe())


async def list_batches(exchange: Exchange, world: World, _: str) -> None:
    """Batches, newest first."""
    query = read_query(exchange.query)
    query.pop("order", None)
    page = Page.of(query, limit=PAGE, most=MOST_ON_A_PAGE)
    await exchange.reply(await world.batches.list(page))


async def cancel_batch(exchange: Exchange, world: World, name: str) -> None:
    """Begin to cancel a batch."""
    await exchange.reply((await world.batches.cancel(name)).describe())


def read_order(body: dict[str, Any], account: str) -> BatchParameters:
    """What a batch is created with.

    Raises:
        Rejected: The API would answer 400.
    """
    for name in ("input_file_id", "endpoint", "completion_window"):
        if body.get(name) is None:
            raise Rejected(api_errors.missing(name))
        if not isinstance(body[name], str):
            raise Rejected(api_errors.wrong_type(name, "a string", body[name]))
    for name, known in (("endpoint", ENDPOINTS), ("completion_window", WINDOWS)):
        if body[name] not in known:
            raise Rejected(api_errors.unsupported(name, body[name], known))
    return BatchParameters(
        input_file_id=body["input_file_id"],
        endpoint=body["endpoint"],
        completion_window=body["completion_window"],
        metadata=_metadata(body.get("metadata")),
        output_lifetime=read_lifetime("output_expires_after", body.get("output_expires_after")),
        account=account,
    )


def _metadata(given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise Rejected(api_errors.wrong_type("metadata", "an object", given))
    if len(given) > MOST_PAIRS:
        most, code = f"at most {MOST_PAIRS} properties", "object_above_max_properties"
        raise Rejected(api_errors.too_long("metadata", most, len(given), code))
    for key, value in given.items():
        name = f"metadata.{key}"
        if not isinstance(value, str):
            raise Rejected(api_errors.wrong_type(name, "a string", value))
        if len(key) > LONGEST_KEY:
            raise Rejected(api_errors.too_long(name, f"a key of at most {LONGEST_KEY}", len(key)))
        if len(value) > LONGEST_VALUE:
            raise Rejected(api_errors.too_long(name, f"at most {LONGEST_VALUE}", len(value)))
    return given
