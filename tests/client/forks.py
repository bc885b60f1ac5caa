"""Programs that fork: run as `python -m tests.client.forks SCENARIO KIND URL` by test_fork.py.

Each process asks questions that no other asks, and prints what it got that it had not asked for.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier.transport import async_http_client, sync_http_client

CHILDREN = 4
QUESTIONS = 10
POLICY = FlexPolicy(backoff_initial=0.01, backoff_max=0.02, max_retries=0)
KINDS = ("sync", "httpx", "aiohttp")


def show(line: str) -> None:
    """Write a line at once: many processes have the same output."""
    os.write(1, f"{line}\n".encode())


class Caller:
    """A client, sync or async over either carrier, as one function that asks.

    The async ones use one event loop throughout, also in the children.
    """

    def __init__(self, kind: str, url: str, **arguments: Any) -> None:
        given = {"base_url": url, "api_key": "sk-test", "policy": POLICY, **arguments}
        self.is_async = kind != "sync"
        if self.is_async:
            self.loop = asyncio.new_event_loop()
            self.http = async_http_client(aiohttp=kind == "aiohttp")
            self.client: Any = AsyncFlexOpenAI(**given, http_client=self.http)
        else:
            self.client = FlexOpenAI(**given)
            self.http = self.client._client

    def end(self) -> None:
        """Close the event loop."""
        if self.is_async:
            self.loop.close()

    def wait(self, answer: Any) -> Any:
        """The value of what the client returned."""
        return self.loop.run_until_complete(answer) if self.is_async else answer

    def create(self, question: str, **arguments: Any) -> Any:
        """The response to a question."""
        messages = [{"role": "user", "content": question}]
        return self.wait(
            self.client.chat.completions.create(model="o3", messages=messages, **arguments)
        )

    def ask(self, question: str) -> str:
        """The answer to a question."""
        return str(self.create(question).choices[0].message.content)

    def next_of(self, chunks: Any) -> Any:
        """The next chunk of a stream; None at its end."""
        return self.wait(anext(chunks, None)) if self.is_async else next(chunks, None)

    def ask_on(self, name: str) -> int:
        """How many of some questions got no answer, or the answer to another."""
        wrong = 0
        for number in range(QUESTIONS):
            question = f"Of {name}, {number}?"
            try:
                said = self.ask(question)
            except Exception as error:  # noqa: BLE001 - an answer that was lost
                said = repr(error)
            if said != f"[simulated] {question}":
                wrong += 1
                show(f"{question} {said}")
        return wrong


def forked(work: Callable[[], int]) -> int:
    """A child that does some work, ends as a program does, and has the result as its status."""
    child = os.fork()
    if child == 0:
        sys.exit(work())
    return child


def joined(children: list[int], seconds: float = 30.0) -> None:
    """End with an error unless all children have ended well in time."""
    until = time.monotonic() + seconds
    for child in children:
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > until:
                os.kill(child, 9)
                sys.exit("a child hangs")
            time.sleep(0.005)
        if status:
            sys.exit(f"a child ended with {os.waitstatus_to_exitcode(status)}")


def after_use(kind: str, url: str) -> None:
    """The parent asks once, the children ask on, and so does the parent."""
    caller = Caller(kind, url)
    caller.ask("Of the parent?")
    children = [forked(lambda name=f"child {n}": caller.ask_on(name)) for n in range(CHILDREN)]  # type: ignore[misc]
    wrong = caller.ask_on("the parent")
    joined(children)
    sys.exit(wrong)


def in_turn(kind: str, url: str) -> None:
    """A child that ends, a grandchild of it too, leaves its parent's connection as it was."""
    caller = Caller(kind, url)
    caller.ask("Of the parent?")

    def child() -> int:
        wrong = caller.ask_on("a child")
        joined([forked(lambda: caller.ask_on("a grandchild"))])
        return wrong + caller.ask_on("a child again")

    joined([forked(child)])
    sys.exit(caller.ask_on("the parent"))


def new_loops(kind: str, url: str) -> None:
    """As programs do it most: `asyncio.run` in the parent, and again in the children."""
    given: dict[str, Any] = {"base_url": url, "api_key": "sk-test", "policy": POLICY}
    client = AsyncFlexOpenAI(**given, http_client=async_http_client(aiohttp=kind == "aiohttp"))

    async def ask(question: str) -> bool:
        messages: Any = [{"role": "user", "content": question}]
        answer = await client.chat.completions.create(model="o3", messages=messages)
        return answer.choices[0].message.content == f"[simulated] {question}"

    async def ask_on(name: str) -> int:
        right = await asyncio.gather(*(ask(f"Of {name}, {n}?") for n in range(QUESTIONS)))
        return right.count(False)

    async def parent() -> int:
        await ask("Of the parent?")
        children = [
            # As multiprocessing's children end: the parent's loop is on their stack.
            forked(lambda name=f"child {n}": os._exit(asyncio.run(ask_on(name))))  # type: ignore[misc]
            for n in range(CHILDREN)
        ]
        wrong = await ask_on("the parent")
        await asyncio.to_thread(joined, children)
        return wrong

    sys.exit(asyncio.run(parent()))


def streams(kind: str, url: str) -> None:
    """A stream that is open at the fork is the parent's: the child takes none of it."""
    caller = Caller(kind, url)
    question = "One two three four five six seven eight nine ten?"
    chunks = caller.create(question, stream=True)
    if not caller.is_async:
        chunks = iter(chunks)
    first = caller.next_of(chunks)

    def child() -> int:
        wrong = caller.ask_on("a child")
        try:
            while caller.next_of(chunks) is not None:
                pass
        except Exception as error:  # noqa: BLE001 - what a lost connection raises
            show(f"broken: {type(error).__name__}")
        else:
            return 99
        return wrong

    children = [forked(child)]
    text = first.choices[0].delta.content or ""
    joined(children)
    while (chunk := caller.next_of(chunks)) is not None:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    if text != f"[simulated] {question}":
        sys.exit(f"the parent got {text!r}")
    sys.exit(caller.ask_on("the parent"))


def threads(kind: str, url: str) -> None:
    """Other threads are in the middle of calls, whatever locks they hold: the children ask."""
    caller = Caller("sync", url)
    caller.ask("Of the parent?")
    stop = threading.Event()
    wrong = []

    def ask_on(number: int) -> None:
        while not stop.is_set():
            wrong.append(caller.ask_on(f"thread {number}"))

    running = [threading.Thread(target=ask_on, args=(number,), daemon=True) for number in range(4)]
    for thread in running:
        thread.start()
    for number in range(int(kind)):
        joined([forked(lambda: os._exit(caller.ask_on(f"child {number}")))])  # noqa: B023
    stop.set()
    for thread in running:
        thread.join()
    sys.exit(sum(wrong))


# --- programs in steps: each ``yield`` waits until the test has looked at the server -------------

LIMIT = 120
"""Seconds after which such a program, and its child, are ended by a signal."""


@contextmanager
def child(work: Callable[[], Any]) -> Iterator[None]:
    """A child that does some work and stays until the block ends; it must do so well."""
    stays, end = os.pipe()
    started, starts = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(LIMIT)
            os.close(end)
            work()
            os.write(starts, b"done")
            os.read(stays, 1)
            status = 0
        except BaseException:  # noqa: BLE001 - shown, and the status says so
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    for descriptor in (stays, starts):
        os.close(descriptor)
    try:
        assert os.read(started, 4) == b"done"
        yield
    finally:
        os.close(end)
        os.close(started)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0


def child_that_only_stays(kind: str, url: str) -> Iterator[None]:
    """The parent closes its client while a child lives."""
    caller = Caller(kind, url)
    caller.ask("Of the parent?")
    yield
    with child(lambda: None):
        caller.wait(caller.client.close())
        yield
    caller.end()


def child_that_closes_its_client(kind: str, url: str) -> Iterator[None]:
    """Children close their client, one without a call of its own, and one after a call."""
    caller = Caller(kind, url)
    for asks in (False, True):
        caller.ask("Of the parent?")

        def work(asks: bool = asks) -> None:
            if asks:
                caller.ask("Of the child?")
            caller.wait(caller.client.close())

        with child(work):
            yield
    caller.ask("Of the parent?")
    yield
    caller.wait(caller.client.close())
    caller.end()


def numbered_connections(url: str, proxy: str, certificates: str) -> Iterator[None]:
    """Parent and children are answered with the numbers of their own connections."""
    verify = ssl.create_default_context(cafile=certificates)
    settings: dict[str, Any] = {"proxy": proxy} if proxy else {}
    client = sync_http_client(verify=verify, **settings)

    def connection() -> int:
        return int(client.get(url).text)

    def work(number: int) -> None:
        assert [connection(), connection()] == [number, number]
        client.close()

    assert connection() == 1
    for number in (2, 3):
        with child(lambda number=number: work(number)):  # type: ignore[misc]
            assert connection() == 1
        assert connection() == 1
    client.close()
    yield


if __name__ == "__main__":
    steps = globals()[sys.argv[1]](*sys.argv[2:])
    if inspect.isgenerator(steps):
        signal.alarm(LIMIT)
        for _ in steps:
            show("done")
            sys.stdin.readline()
