"""A headless browser, driven through its DevTools."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_WITHIN = 60.0
_TROUBLE = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")


class Browser:
    """One tab of a browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.requests: list[str] = []
        """What was asked for since the page was opened, without the page itself."""
        self.trouble: list[Any] = []
        """What the page has thrown or logged."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @classmethod
    @contextmanager
    def started(cls, program: str) -> Iterator[Browser]:
        """Start a browser; it ends with the block."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
            command = [program, "--headless", "--disable-gpu", "--remote-debugging-port=0"]
            command += [f"--user-data-dir={home}", "--no-first-run", "about:blank"]
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                command.append("--no-sandbox")  # which root cannot have
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
                try:
                    with connect(_tab(process), max_size=None) as connection:
                        yield cls(connection)
                finally:
                    process.terminate()
                    process.communicate()

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(command))
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, page: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Open a file, and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url="about:blank")
        self.requests, self.trouble = [], []
        self.call("Page.navigate", url=page.as_uri())
        while self._next().get("method") != "Page.loadEventFired":
            pass
        while self.ask("document.readyState") != "complete" or "blank" in self.ask("location.href"):
            pass

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page; what it promises is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text
            )

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(image["data"])

    def _next(self) -> Any:
        message = json.loads(self._connection.recv(_WITHIN))
        method = message.get("method")
        if method == "Network.requestWillBeSent" and message["params"]["type"] != "Document":
            self.requests.append(message["params"]["request"]["url"])
        elif method in _TROUBLE:
            self.trouble.append(message["params"])
        return message


def _tab(process: subprocess.Popen[str]) -> str:
    """The address of the tab that the browser begins with."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"DevTools listening on ws://([^/]+)/", line):
            break
    else:
        raise RuntimeError("the browser did not start")
    with urllib.request.urlopen(f"http://{found[1]}/json", timeout=_WITHIN) as answer:
        tabs = json.load(answer)
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
