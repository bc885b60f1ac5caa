"""``FLEXTIER_LEDGER``: a ledger of every call of the process, started by its first call."""

from __future__ import annotations

from threading import Lock

from flextier._utils.fork import after_fork_in_child
from flextier._utils.safe_warn import safe_warn
from flextier.calls import hooks
from flextier.variables import LEDGER, setting

_lock = Lock()
is_read = False
_url = ""


def start_process_ledger() -> None:
    """Read the variable, if this process has not yet, and record all calls in the ledger it names.

    A ledger that cannot be used is warned about once; it fails no call.
    """
    global is_read, _url
    if is_read:
        return
    with _lock:  # the calls of other threads are recorded, too: they wait
        if is_read:
            return
        url = setting(LEDGER)
        if url != _url:  # a forked child has its parent's ledger
            _url = url
            hooks.record_every_call(_ledger(url) if url else None)
        is_read = True


def _ledger(url: str) -> hooks.Recorder | None:
    try:
        from flextier.ledger.process_ledger import ProcessLedger  # most programs have none

        ledger = ProcessLedger(url)
    except Exception as error:  # noqa: BLE001 - whatever it is, calls go on
        safe_warn(f"{LEDGER} cannot be used, so calls are not recorded: {error}", RuntimeWarning)
        return None
    ledger.use()
    return ledger


def _forked() -> None:
    global _lock, is_read
    _lock, is_read = Lock(), False


after_fork_in_child(_forked)
