"""One batch, from its first line to its last answer: a thread that mostly sleeps."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import openai
from openai.types import Batch

from flextier._sdk import failure_of
from flextier.batch.api import TAG, TERMINAL, BatchAPI, lines_of, response_of
from flextier.batch.pacing import tokens_of
from flextier.batch.refusals import (
    NOT_HERE,
    Refusal,
    again,
    detached,
    is_about_room,
    is_denied,
    refusals_of,
    surely_not_sent,
)
from flextier.batch.spool import MAX_LINES, Spool, line_of
from flextier.batch.terms import Terms
from flextier.batch.ticket import FREE, Failed, Outcome, Refused, Said, Ticket
from flextier.errors import BatchUnfinished
from flextier.failures import classify, server_wait
from flextier.journal import JournalError, JournalWarning
from flextier.journal.batches import BatchRow
from flextier.journal.entry import Recorded
from flextier.lanes import BATCH, STANDARD
from flextier.lanes.batch import LINE_ERROR, MODEL_ERROR
from flextier.saying import say
from flextier.waiting import ThreadWait

if TYPE_CHECKING:
    from flextier.batch.desk import Desk

_T = TypeVar("_T")

_SETTLING = 5.0
"""Seconds until a batch, if it was created, can be found in the list."""

_CLOCKS_APART = 3600.0
"""Seconds by which the server's clock may be behind this machine's."""

_GIVEN_UP = frozenset({"rejected", "quota", "lane_unsupported", "stream_unverified"})
"""Failures of a request that the next one would have, too."""

_PATIENT_LOOKS = 5
"""How often a batch that runs may be denied to us, before we believe it."""

_CHUNK = 500
"""Lines that are recorded together."""


class _Over(Exception):
    """There is nobody left to work for, or no time; the tickets have been told."""


class Work:
    """A batch, and the calls that wait for it.

    What is marked *under the lock* is called by the desk, which holds it.
    """

    def __init__(self, desk: Desk, terms: Terms, tag: str, row: BatchRow | None = None) -> None:
        """Begin to gather lines; with ``row``, go on with a batch that the journal knows."""
        self.lock = desk.lock
        self.terms = terms
        self.tag = tag
        self.open = row is None
        """Whether it takes lines."""
        self._desk = desk
        self._row = row
        self._clock = terms.clock
        self._journal = terms.journal
        self._waiting: dict[str, Ticket] = {}
        self._earliest = math.inf
        self._spool = Spool() if row is None else None
        self._order: list[str] = []
        self._file_id: str | None = None if row is None else row.file_id
        self._batch: Batch | None = None
        self._wait = ThreadWait()
        self._wait.prepare()
        self._settled = False
        self._mended = 0
        self._alone = 0
        self._ended = False
        self.thread = threading.Thread(target=self._run, name=f"flextier-batch-{tag}", daemon=True)

    # --- calls come and go --------------------------------------------------------------------

    def takes(self, withdraw_by: float, size: int, max_bytes: int, max_tokens: float) -> bool:
        """Whether one more line may join: under the lock.

        A call that has to leave much sooner than the others would end the batch for all of them.
        """
        spool = self._spool
        if not self.open or spool is None:
            return False
        full = spool.lines >= MAX_LINES or spool.size + size > max_bytes
        if full or tokens_of(spool.size + size) > max_tokens:
            self._close()
            return False
        ours = self.withdraw_by
        if math.isinf(ours) or math.isinf(withdraw_by):
            return ours == withdraw_by or not self._waiting
        left = min(ours, withdraw_by) - self._clock.now()
        return abs(ours - withdraw_by) <= max(self.terms.policy.batch_window, left / 10)

    def add(self, ticket: Ticket, body: bytes) -> None:
        """Take a line: under the lock.

        Raises:
            OSError: it cannot be written to the disk.
        """
        assert self._spool is not None
        line = line_of(ticket.custom_id, self.terms.endpoint, body)
        ticket.span = self._spool.add(line)
        self._order.append(ticket.custom_id)
        self._wait_for(ticket)
        if self._spool.lines >= MAX_LINES:
            self._close()

    def _wait_for(self, ticket: Ticket) -> None:
        self._waiting[ticket.custom_id] = ticket
        self._earliest = min(self._earliest, ticket.withdraw_by)

    def _close(self) -> None:
        self.open = False
        self._wait.wake()

    def join(self, ticket: Ticket) -> bool:
        """Wait for a line that was sent before, maybe by another process: under the lock.

        False: the work is over.
        """
        if self._ended:
            return False
        self._wait_for(ticket)
        return True

    def left(self, ticket: Ticket) -> None:
        """A call waits no more."""
        with self.lock:
            if self._waiting.get(ticket.custom_id) is ticket:
                del self._waiting[ticket.custom_id]
            if not self._waiting:
                self._wait.wake()

    def detach(self) -> list[Callable[[], None]]:
        """Let go of all calls, as the journal knows where they are: under the lock."""
        if self._journal is None:
            return []
        self.open = False
        return self._settle(self._waiting, Failed(detached))

    def abandon(self) -> None:
        """Nobody will wait any more: under the lock."""
        self.open = False
        self._waiting.clear()
        self._wait.wake()

    @property
    def known_to_journal(self) -> bool:
        """Whether it may go on without this process."""
        return self._journal is not None

    @property
    def withdraw_by(self) -> float:
        """When it has to be cancelled for the sake of one of its calls: under the lock.

        The call may have left meanwhile; who acts on it, looks again.
        """
        return self._earliest

    def _is_late(self) -> bool:
        """Whether one of the calls has to go on now: under the lock."""
        if self._earliest > self._clock.now():
            return False
        self._earliest = min((t.withdraw_by for t in self._waiting.values()), default=math.inf)
        return self._earliest <= self._clock.now()

    def _settle(self, tickets: Iterable[str], outcome: Outcome) -> list[Callable[[], None]]:
        """Tell the calls of these lines; what wakes them, to be called without the lock."""
        wakes = []
        for custom_id in list(tickets):
            ticket = self._waiting.pop(custom_id, None)
            if ticket is not None and (wake := ticket.settle(outcome)) is not None:
                wakes.append(wake)
        self._wait.wake()
        return wakes

    def _tell(self, tickets: Iterable[str] | None, outcome: Outcome) -> None:
        """Tell the calls of these lines, or all that wait."""
        with self.lock:
            wakes = self._settle(self._waiting if tickets is None else tickets, outcome)
        wake_all(wakes)

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._row is not None:
                self._go_on(self._row)
            else:
                self._gather()
                self._seal()
                self._send()
        except _Over:
            pass
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            self._fail(error)
        finally:
            with self.lock:
                self._ended = True
                self.open = False
                left = self._settle(self._waiting, FREE)
                self._desk.over(self)
            wake_all(left)
            if self._spool is not None:
                self._spool.close()

    def _gather(self) -> None:
        """Wait for lines until the window is over, or the file is full."""
        until = self._clock.now() + self.terms.policy.batch_window
        while self.open and (left := until - self._clock.now()) > 0:
            with self.lock:
                if not self._waiting:
                    break
                left = min(left, self.withdraw_by - self._clock.now())
            if left <= 0:
                break
            self._pause(left)
        with self.lock:
            self.open = False

    def _seal(self) -> None:
        """Settle which lines are sent, and have the journal know before anybody else does."""
        with self.lock:
            if not self._waiting:
                raise _Over
            if len(self._waiting) < len(self._order):
                self._rewrite()
            row = BatchRow(
                self.tag,
                self.terms.base_url,
                self.terms.endpoint,
                self.terms.model,
                len(self._order),
                self._journal.run if self._journal else 0,
                self._clock.wall(),
            )
            tickets = list(self._waiting.values())
        if self._journal is not None:
            self._journal.seal(row, [(t.custom_id, t.entry) for t in tickets if t.entry])
        self._settled = True

    def _rewrite(self) -> None:
        """Leave the lines out that nobody waits for any more."""
        old, self._spool, self._order = self._spool, Spool(), []
        assert old is not None
        for ticket in self._waiting.values():
            assert ticket.span is not None
            ticket.span = self._spool.add(old.read(ticket.span))
            self._order.append(ticket.custom_id)
        old.close()

    def _send(self) -> None:
        while True:
            try:
                submitted = self._submit()
            except openai.APIStatusError as error:
                if not is_about_room(error.code, error.message):
                    raise
                self._wait_for_room(error.message)
                continue
            batch = self._follow(submitted)
            if batch.status != "failed":
                break
            if not self._mend(batch):
                return
        self._harvest(batch)

    def _submit(self) -> Batch:
        """Upload the file and create the batch, as soon as there is room for it."""
        assert self._spool is not None
        self._line_up()
        until = self._clock.now() + self.terms.policy.patience
        if self._file_id is None:
            name, content = f"flextier-{self.tag}.jsonl", self._spool.file
            try:
                self._file_id = self._persist(lambda api: api.upload(name, content), until)
            except openai.APIStatusError as error:
                if error.status_code != 413 or len(self._order) == 1:
                    raise
                self._desk.too_large(self._spool.size)
                self._split()
            self._note(file_id=self._file_id)
            self._check_time()
        batch = self._create(self._file_id or "", until)
        self._note(batch_id=batch.id, status=batch.status)
        return batch

    def _line_up(self) -> None:
        """Wait until there is room for the batch among the tokens that may be enqueued."""
        assert self._spool is not None
        tokens = tokens_of(self._spool.size)
        while True:
            self._check_time()
            with self.lock:
                if self._desk.pacing(self.terms.model).may_go(self, tokens):
                    return
            self._pause(self.terms.poll)

    def _create(self, file_id: str, until: float) -> Batch:
        """Create the batch once, also where the answer to that gets lost."""
        metadata = {TAG: self.tag}
        since = self._clock.wall() - _CLOCKS_APART
        tried = False

        def create(api: BatchAPI) -> Batch:
            nonlocal tried
            found = api.find(self.tag, since) if tried else None
            if found is not None and found.status != "failed":
                return found
            tried = True
            try:
                return api.create(file_id, self.terms.endpoint, metadata)
            except openai.APIConnectionError:
                self._pause(min(_SETTLING, self.terms.poll))
                raise

        return self._persist(create, until)

    def _follow(self, batch: Batch) -> Batch:
        """Look at the batch until it has ended; cancel it when its time has come."""
        self._batch = batch
        looks, denied, cancelled = 0, 0, False
        while batch.status not in TERMINAL:
            if not cancelled and self._is_to_stop():
                cancelled = self._cancel(batch.id)
            self._pause(self._interval(looks, cancelled))
            looks += 1
            try:
                batch = self._api().retrieve(batch.id)
                denied = 0
            except openai.OpenAIError as error:
                denied = self._denied(error, denied)
                self._pause(self.terms.backoff(min(denied + looks, 10)))
                continue
            self._batch = batch
        with self.lock:
            self._desk.pacing(self.terms.model).over(self)
        self._desk.news()
        self._note(
            status=batch.status,
            output_file_id=batch.output_file_id,
            error_file_id=batch.error_file_id,
        )
        return batch

    def _interval(self, looks: int, cancelled: bool) -> float:
        """Seconds to the next look: soon at first, and while it is being cancelled."""
        longest = self.terms.poll / 4 if cancelled else self.terms.poll
        usual = min(longest, self.terms.poll / 10 * 1.5 ** min(looks, 20))
        jittered = usual * (0.8 + 0.4 * self._clock.random())
        if cancelled:
            return jittered
        with self.lock:
            left = self.withdraw_by - self._clock.now()
        return min(jittered, max(left, 0.0))

    def _denied(self, error: openai.OpenAIError, denied: int) -> int:
        """A look failed; how often it has for good. What was sent is paid for: we are patient."""
        failure = failure_of(error)
        if failure is None:
            raise error
        if classify(failure, STANDARD) not in _GIVEN_UP:
            return denied
        if failure.status == 404 or denied + 1 >= _PATIENT_LOOKS:
            raise error
        return denied + 1

    def _is_to_stop(self) -> bool:
        """Whether the batch is to be cancelled now.

        Raises:
            _Over: nobody waits, and the journal knows where it is.
        """
        with self.lock:
            if not self._waiting and self._journal is not None:
                raise _Over
            return not self._waiting or self._is_late()

    def _cancel(self, batch_id: str) -> bool:
        try:
            self._api().cancel(batch_id)
        except openai.APIStatusError as error:
            return error.status_code < 500 and error.status_code != 429  # it had just ended
        except openai.APIConnectionError:
            return False
        return True

    # --- what came of it ----------------------------------------------------------------------

    def _harvest(self, batch: Batch) -> None:
        """Hand over what was answered; what was not, is free to go another way."""
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                self._hand_over(file_id)
        if self._journal is not None:
            self._record(lambda journal: journal.unfinished(self.tag))
        self._tell(None, self._unfinished(batch.status))

    def _hand_over(self, file_id: str) -> None:
        content = tempfile.TemporaryFile(prefix="flextier-")  # noqa: SIM115 - read by the calls
        try:
            self._persist(lambda api: api.download(file_id, content), math.inf)
        except openai.NotFoundError:
            return  # deleted, or expired: nothing can be had from it any more
        lock = threading.Lock()
        chunk: list[tuple[str, Said, Recorded | None]] = []
        for at, length, line in lines_of(content):
            told = None if line is None else response_of(line)
            if line is None or told is None:
                continue  # batch_expired, batch_cancelled: not done
            status, request_id, body = told
            recorded = None
            if status < 400:
                recorded = Recorded(BATCH.name, status, request_id, body)
            said = Said(content, lock, at, length)
            chunk.append((str(line.get("custom_id")), said, recorded))
            if len(chunk) >= _CHUNK:
                self._pass_on(chunk)
                chunk = []
        self._pass_on(chunk)

    def _pass_on(self, chunk: list[tuple[str, Said, Recorded | None]]) -> None:
        """Record some answers, then hand them over."""
        if self._journal is not None:
            answered = [(custom_id, said) for custom_id, _, said in chunk if said is not None]
            failed = [custom_id for custom_id, _, said in chunk if said is None]
            keep = self.terms.policy.journal_answers
            self._record(lambda j: j.harvested(self.tag, answered, failed, keep_answer=keep))
        wakes: list[Callable[[], None]] = []
        with self.lock:
            for custom_id, said, _ in chunk:
                wakes += self._settle((custom_id,), said)
        wake_all(wakes)

    def _record(self, write: Callable[[Any], None]) -> None:
        """Have the journal know; an answer that it cannot take is handed over all the same."""
        try:
            write(self._journal)
        except JournalError as error:
            say(f"an answer is not remembered: {error}", JournalWarning)

    def _mend(self, batch: Batch) -> bool:
        """A batch failed its validation, and nothing of it was done: whether to create it again."""
        refusals = refusals_of(batch)
        self._batch = None
        room = next((r for r in refusals if r.is_about_room), None)
        if room is not None:
            self._wait_for_room(room.message)
            return True
        by_line = {r.line: r for r in refusals if r.line is not None}
        of_lines = {self._order[n - 1]: r for n, r in by_line.items() if 0 < n <= len(self._order)}
        self._mended += 1
        if of_lines and len(of_lines) < len(self._order) and self._mended <= 3:
            for custom_id, refusal in of_lines.items():
                self._tell((custom_id,), _refused(LINE_ERROR, refusal))
            self._restart([self._remaining()])
        if self._journal is not None:
            self._journal.unfinished(self.tag)
        about_model = next((r for r in refusals if r.is_about_model), None)
        if about_model is not None:
            self._tell(None, _refused(MODEL_ERROR, about_model))
        elif of_lines:
            self._tell(None, _refused(LINE_ERROR, next(iter(of_lines.values()))))
        else:
            why = "; ".join(f"{r.code}: {r.message}" for r in refusals)
            self._tell(None, self._unfinished(batch.status, why))
        return False

    def _wait_for_room(self, message: str) -> None:
        """Too much is enqueued: wait for what is on its way, or ask for less at once."""
        assert self._spool is not None
        with self.lock:
            pacing = self._desk.pacing(self.terms.model)
            alone = pacing.refused(self, message)
            limit = pacing.limit
        self._alone += alone
        too_much = tokens_of(self._spool.size) > limit or self._alone >= 3
        if alone and too_much and len(self._order) > 1:
            self._split()
        if alone:
            self._pause(self.terms.poll * min(2 ** (self._alone - 1), 10))

    def _remaining(self) -> list[Ticket]:
        with self.lock:
            return list(self._waiting.values())

    def _split(self) -> None:
        """Go on as two smaller batches.

        Raises:
            _Over: this one is done with.
        """
        tickets = self._remaining()
        half = (len(tickets) + 1) // 2
        self._restart([tickets[:half], tickets[half:]])

    def _restart(self, parts: list[list[Ticket]]) -> None:
        """Go on as other batches, each of some of the calls; nothing of this one was done.

        Raises:
            _Over: this one is done with.
        """
        assert self._spool is not None
        for tickets in parts:
            if not tickets:
                continue
            with self.lock:
                work = self._desk.begin(self.terms)
                work.open = False
                for ticket in tickets:
                    if self._waiting.pop(ticket.custom_id, None) is not None:
                        work.inherit(ticket, self._spool)
            work.start_sealed(self._mended)
        raise _Over

    def inherit(self, ticket: Ticket, spool: Spool) -> None:
        """Take over a line of another work: under the lock."""
        assert self._spool is not None
        assert ticket.span is not None
        ticket.span = self._spool.add(spool.read(ticket.span))
        ticket.move(self)
        self._order.append(ticket.custom_id)
        self._wait_for(ticket)

    def start_sealed(self, mended: int) -> None:
        """Begin with lines that were gathered before."""
        self._mended = mended
        self.thread.start()

    # --- batches of an earlier run ------------------------------------------------------------

    def _go_on(self, row: BatchRow) -> None:
        """Go on with a batch that the journal knows, wherever it was left."""
        try:
            batch = self._recover(row)
        except openai.NotFoundError:
            batch = None
        if batch is None:
            self._free()
            return
        if batch.status not in TERMINAL:
            batch = self._follow(batch)
        if batch.status == "failed":
            self._free()
            return
        self._batch = batch
        self._note(
            status=batch.status,
            output_file_id=batch.output_file_id,
            error_file_id=batch.error_file_id,
        )
        if batch.output_file_id is None and batch.error_file_id is None:
            self._free()
            return
        self._harvest(batch)

    def _recover(self, row: BatchRow) -> Batch | None:
        """The batch; None: it was never created."""
        assert self._journal is not None
        while row.batch_id is None and not self._journal.batches.adopt(self.tag):
            self._check_time()
            self._pause(min(1.0, self.terms.poll))
            found = self._journal.batches.get(self.tag)
            if found is None:
                return None
            row = found
        if row.batch_id is not None:
            batch_id = row.batch_id
            return self._persist(lambda api: api.retrieve(batch_id), math.inf)
        self._pause(max(0.0, row.sealed + _SETTLING - self._clock.wall()), wakes=False)
        since = row.sealed - _CLOCKS_APART
        batch = self._persist(lambda api: api.find(self.tag, since), math.inf)
        if batch is not None:
            self._note(batch_id=batch.id, status=batch.status)
        return batch

    def _free(self) -> None:
        """Nothing can be had of the batch: its lines are to be sent anew."""
        assert self._journal is not None
        self._journal.gone(self.tag)
        self._tell(None, FREE)

    # --- tools --------------------------------------------------------------------------------

    def _api(self) -> BatchAPI:
        return self._desk.api()

    def _note(self, **facts: str | None) -> None:
        if self._journal is not None:
            self._record(lambda journal: journal.batches.note(self.tag, **facts))

    def _persist(self, ask: Callable[[BatchAPI], _T], until: float) -> _T:
        """Ask until there is an answer, or an error that would come again, or ``until``."""
        tries = 0
        while True:
            try:
                return ask(self._api())
            except openai.OpenAIError as error:  # noqa: PERF203 - each try is a request
                failure = failure_of(error)
                kind = None if failure is None else classify(failure, STANDARD)
                if failure is None or kind is None or kind in _GIVEN_UP:
                    raise
                if is_about_room(failure.code, failure.message):
                    raise
                tries += 1
                hint = server_wait(failure, kind, self._clock.wall())
                wait = self.terms.backoff(tries) if hint is None else hint
                if self._clock.now() + wait >= until:
                    raise
                self._pause(wait)
                self._check_time()

    def _check_time(self) -> None:
        """Whether it is still worth to send anything.

        Raises:
            _Over: nobody waits; or those who do have to go on now.
        """
        with self.lock:
            if self._waiting and not self._is_late():
                return
            if self._batch is not None:  # it was sent: see it through
                return
        if self._journal is not None and self._settled:
            self._journal.gone(self.tag)
        self._tell(None, self._unfinished("deadline"))
        raise _Over

    def _pause(self, seconds: float, *, wakes: bool = True) -> None:
        """Sleep; unless there is news."""
        if seconds <= 0:
            return
        if wakes:
            self._clock.pause(self._wait, seconds)
            with self.lock:
                self._wait.prepare()
        else:
            self._clock.sleep(seconds)

    def wake(self) -> None:
        """There may be news: under the lock."""
        self._wait.wake()

    def _fail(self, error: Exception) -> None:
        """It cannot go on: those who wait get the error, each one of its own."""
        never = self._batch is None and surely_not_sent(error)
        if self._journal is not None and self._settled and never:
            self._record(lambda journal: journal.gone(self.tag))
        failure = failure_of(error)
        if never and failure is not None and is_denied(failure):
            # The other lanes may do all the same: a key may be kept from files, a server have none.
            kind = MODEL_ERROR if failure.status in NOT_HERE else LINE_ERROR
            status = failure.status or 400
            self._tell(None, Refused(kind, failure.code, failure.message, failure.param, status))
            return
        self._tell(None, Failed(lambda request: again(error, request)))

    def _unfinished(self, status: str, why: str = "") -> Outcome:
        batch_id = None if self._batch is None else self._batch.id
        what = "before its lines were sent" if batch_id is None else f"batch {batch_id}"
        if status == "deadline":
            message = f"{what}: left, so that FlexPolicy.deadline (FLEXTIER_DEADLINE) can be kept"
        else:
            message = f"{what}: {status}{f' ({why})' if why else ''}, without this call's answer"

        def make(request: Any) -> Exception:
            return BatchUnfinished(request, message, batch_id=batch_id, status=status)

        return Failed(make)


def _refused(kind: str, refusal: Refusal) -> Refused:
    return Refused(kind, refusal.code, refusal.message, refusal.param)


def wake_all(wakes: list[Callable[[], None]]) -> None:
    """Wake those who wait; not under a lock."""
    for wake in wakes:
        with suppress(RuntimeError):  # its event loop has ended: nobody is left to be woken
            wake()
