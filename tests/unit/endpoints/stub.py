"""A chat endpoint that misbehaves on command, in a thread of this process."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[[dict[str, Any], int], Any]


def completion(content: str | None = "J020", **more: Any) -> dict[str, Any]:
    """A well-formed reply; `message`, `choice` and other keys are laid over it."""
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    choice = {"index": 0, "message": message, "finish_reason": "stop"} | more.pop("choice", {})
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 105,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "big-1-2026",
        "system_fingerprint": "fp_1",
        "choices": [choice],
        "usage": usage,
    } | more


class Error:
    """An HTTP error; `body` may hold {authorization}, which is replaced by what came in that header."""

    def __init__(self, status: int, message: str = "no", code: str | None = None, param: str | None = None, **headers):
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = {"error": {"message": message, "code": code, "param": param, "type": "x"}}


DROP = object()  # close the connection without a word
HALF = object()  # send half of the body, then close


class Stub:
    """`script(body, count)` says what to answer to the n-th request of the same last message, from 0 on."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                stub.handle(self)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            self.requests.append(body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            seen = json.dumps([body["messages"], "response_format" in body])
            count = self._seen[seen] = self._seen.get(seen, -1) + 1
        try:
            answer = self.script(body, count)
        finally:
            with self._lock:
                self.at_once -= 1
        self.send(handler, answer)

    def send(self, handler: BaseHTTPRequestHandler, answer: Any) -> None:
        if answer is DROP:
            handler.connection.close()
            return
        status, headers, reply = 200, {}, answer
        if isinstance(answer, Error):
            status, headers = answer.status, answer.headers
            reply = json.loads(
                json.dumps(answer.body).replace("{authorization}", handler.headers.get("Authorization", ""))
            )
        text = (reply if isinstance(reply, str) else json.dumps(completion() if reply is HALF else reply)).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text[: len(text) // 2] if reply is HALF else text)


def text_of(body: dict[str, Any]) -> str:
    """The dialogue of a request, as the tests' prompt shows it."""
    found = re.search(r"<<(.*)>>", body["messages"][-1]["content"], re.DOTALL)
    return found[1] if found else ""
