"""``flextier rehearse``: cost and late answers of a policy in simulated flex weather."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from flextier.cli._common import DURATION, duration, fail, write_json, write_stdout

if TYPE_CHECKING:
    from flextier.rehearsal.result import Rehearsal, TraceResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier rehearse`` to a parser."""
    parser.add_argument(
        "trace", nargs="?", metavar="TRACE", help="a name of --list, or a JSON file"
    )
    parser.add_argument("--list", action="store_true", help="list the built-in traces")
    parser.add_argument("--jobs", type=int, metavar="N", help="how many calls [the trace's]")
    parser.add_argument(
        "--deadline",
        type=duration,
        metavar=DURATION,
        help="for each call: seconds, 90s, 5m [the policy's, the trace's]",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the random numbers [the trace's]")
    parser.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of FlexPolicy, such as patience=600; repeatable [FLEXTIER_*]",
    )
    parser.add_argument(
        "--against", action="store_true", help="compare with common recipes without flextier"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the figures; return 0, or 2 if the trace or the policy is invalid."""
    # Imported here, so that `--help` loads no client.
    from flextier.rehearsal.flextier_client import rehearse
    from flextier.rehearsal.result import MiscountError

    if options.list:
        return _list(options)
    if options.trace is None:
        return fail(
            "rehearse", "TRACE is missing: `flextier rehearse --list` shows the built-in traces"
        )
    try:
        policy: Any = dict(map(_field, options.policy))
        result = rehearse(
            options.trace,
            policy=policy,
            jobs=options.jobs,
            deadline=options.deadline,
            seed=options.seed,
        )
    except (OSError, ValueError, MiscountError) as error:
        return fail("rehearse", str(error))
    others = _against(result) if options.against else []
    if options.json:
        against = {"against": [other.to_dict() for other in others]} if options.against else {}
        return write_json("rehearse", {**result.to_dict(), **against})
    return write_stdout("rehearse", _text(result, others))


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--policy {text}: a field and its value are needed, as in patience=600")
    return name.strip().replace("-", "_"), value.strip()


def _list(options: argparse.Namespace) -> int:
    from flextier.rehearsal.trace import Trace, names

    about = {name: Trace.load(name).about for name in names()}
    if options.json:
        return write_json("rehearse", about)
    width = max(map(len, about))
    lines = [f"{name:{width}}  {text}\n" for name, text in about.items()]
    return write_stdout("rehearse", "".join(lines))


def _against(result: Rehearsal) -> list[TraceResult]:
    from flextier.installer.install import uninstall
    from flextier.rehearsal.baselines import PEERS

    uninstall()  # they are the SDK's clients, also under `flextier exec`
    return [outcome for name in PEERS if (outcome := _peer(name, result)) is not None]


def _peer(name: str, result: Rehearsal) -> TraceResult | None:
    from flextier.rehearsal.baselines import run_peer

    try:
        return run_peer(name, result.trace)
    except ImportError as error:
        fail("rehearse", f"{name} is left out: {error}")
        return None


def _text(result: Rehearsal, others: list[TraceResult]) -> str:
    from flextier.rehearsal import formatting

    lines = [*formatting.heading(result.trace), "", *formatting.figures(result)]
    if others:
        lines += ["", *formatting.table([result, *others])]
    return "\n".join(lines) + "\n"
