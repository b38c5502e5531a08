"""Many requests at once: paced, repeated where that may help, each answer handed over the moment it comes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from slingshot.config.endpoints import Asking
from slingshot.endpoints.client import Client, RequestError
from slingshot.endpoints.pacing import Pace, wait_after
from slingshot.endpoints.replies import Reply
from slingshot.prompting.messages import GAP

SHARES_KEPT = (0.75, 0.5, 0.25, 0.1)  # of a dialogue that is too long for the model's window, one after the other

CHARACTERS_PER_TOKEN = 4  # a guess for pacing alone

STOPPED = RequestError("stopped", "the step ended before", retry=False)


@dataclass(frozen=True)
class Request:
    """What is sent for one sample. `text` is the dialogue as it stands in the last message, should it need cutting."""

    body: Mapping[str, Any]
    text: str

    @property
    def tokens(self) -> int:
        """About how many tokens the request and its answer take."""
        characters = sum(len(message["content"]) for message in self.body["messages"])
        return characters // CHARACTERS_PER_TOKEN + int(self.body.get("max_tokens", 0))

    def shortened(self, share: float) -> Request:
        """The same with only a share of the dialogue: its middle is gone."""
        kept = int(len(self.text) * share)
        text = self.text[: kept - kept // 2] + GAP + self.text[len(self.text) - kept // 2 :]
        *before, last = self.body["messages"]
        message = last | {"content": last["content"].replace(self.text.strip(), text.strip())}
        return Request({**self.body, "messages": [*before, message]}, self.text)


@dataclass
class RequestTally:
    """What became of the requests."""

    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, retried: str | None = None) -> None:
        with self.lock:
            self.requests += 1
            if retried:
                self.retries[retried] += 1


def ask_all(
    client: Client, requests: Sequence[Request], asking: Asking, tally: RequestTally, stopped: threading.Event
) -> Iterator[tuple[int, Reply | RequestError]]:
    """Answers as they come, each with its request's index; a RequestError where there is none after all tries.

    Args:
        stopped: once it is set no further request goes out, and only the answers that came by then are given.

    Raises:
        StudyError: no request can succeed, e.g. since the key is refused; after the answers that had come.
    """
    pace = Pace(asking.per_minute, asking.tokens_per_minute)
    waiting: SimpleQueue[tuple[int, Request]] = SimpleQueue()
    answered: SimpleQueue[tuple[int, Reply | Exception]] = SimpleQueue()
    for numbered in enumerate(requests):
        waiting.put(numbered)

    def work() -> None:
        while not stopped.is_set():
            try:
                index, request = waiting.get_nowait()
            except Empty:
                return
            try:
                answer = _ask_one(client, request, asking.retries, pace, stopped, tally)
                if answer is not STOPPED:
                    answered.put((index, answer))
            except Exception as error:
                answered.put((index, error))
                stopped.set()

    # Daemons, and no pool: a step that stops does not wait for answers that are on their way.
    for number in range(min(asking.at_once, len(requests))):
        threading.Thread(target=work, name=f"ask-{number}", daemon=True).start()
    fatal: Exception | None = None
    for _ in requests:
        try:
            index, answer = answered.get_nowait() if stopped.is_set() else answered.get()
        except Empty:
            break
        if isinstance(answer, Reply | RequestError):
            yield index, answer
        else:
            fatal = fatal or answer
            stopped.set()
    stopped.set()
    if fatal:
        raise fatal


def _ask_one(
    client: Client, request: Request, retries: int, pace: Pace, stopped: threading.Event, tally: RequestTally
) -> Reply | RequestError:
    """The answer to one request, whole or, where it does not fit the window, with a dialogue that lost its middle."""
    failure = STOPPED
    for share in (1.0, *SHARES_KEPT):
        answer = _ask_again(client, request if share == 1 else request.shortened(share), retries, pace, stopped, tally)
        if isinstance(answer, Reply):
            answer.kept_share = share
            return answer
        failure = answer
        if not failure.too_long:
            break
    return failure


def _ask_again(
    client: Client, request: Request, retries: int, pace: Pace, stopped: threading.Event, tally: RequestTally
) -> Reply | RequestError:
    """Ask until there is an answer or no try is left."""
    failure = STOPPED
    for attempt in range(retries + 1):
        pace.wait_turn(request.tokens, stopped)
        if stopped.is_set():
            return failure
        tally.count(failure.kind if attempt else None)
        try:
            return client.ask(request.body)
        except RequestError as error:
            failure = error
        if not failure.retry or attempt == retries:
            break
        seconds = wait_after(attempt, failure.headers)
        if failure.kind == "429":
            pace.hold(seconds)
        stopped.wait(seconds)
    return failure
