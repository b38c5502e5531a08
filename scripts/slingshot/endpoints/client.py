"""One request to an OpenAI-compatible chat endpoint, with everything that can go wrong sorted by what helps."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slingshot.config.endpoints import ApiModel, is_loopback
from slingshot.core.errors import StudyError
from slingshot.endpoints.replies import MalformedReplyError, Reply, read_reply, refused

log = logging.getLogger(__name__)

# What a request can do without, and what takes its place: an endpoint that refuses a field is asked without it.
OPTIONAL_FIELDS = ("max_tokens", "temperature", "top_logprobs", "logprobs", "response_format", "seed")

SCHEMA_REFUSED = "schema refused"

LONGEST_MESSAGE = 300  # characters of an endpoint's error text


@dataclass(eq=False)
class RequestError(Exception):
    """A request that failed. `kind` is counted and shown; `headers` may say how long to wait."""

    kind: str
    message: str
    retry: bool
    too_long: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


class Client:
    """Asks one endpoint. Many threads share one; what the endpoint refuses of a request is learned once."""

    def __init__(self, source: ApiModel, timeout: float) -> None:
        """Open the client.

        Raises:
            StudyError: the key's environment variable is not set.
        """
        import httpx2
        import openai

        for noisy in ("openai", "httpx2", "httpcore2", "httpcore"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.source = source
        self._key = key_of(source)
        # No redirects: they would take texts to a host that nobody named. No proxy or .netrc between us and ourselves.
        own_machine = is_loopback(source.host)
        http = httpx2.Client(
            timeout=timeout,
            follow_redirects=False,
            trust_env=not own_machine,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),  # asking.at_once is the limit
        )
        # Each credential is given, so that none is taken from a variable that the study does not name.
        self._openai = openai.OpenAI(
            api_key=self._key or "none",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=source.api,
            timeout=timeout,
            max_retries=0,
            http_client=http,
        )
        self._lock = threading.Lock()
        self.left_out: dict[str, str] = {}  # field to what the endpoint said to it

    def close(self) -> None:
        self._openai.close()

    def ask(self, body: Mapping[str, Any]) -> Reply:
        """Send one request, without the fields that the endpoint was found to refuse.

        Raises:
            RequestError: no answer; says whether another try may help.
            StudyError: no request to this endpoint can succeed.
        """
        while True:
            with self._lock:
                left_out = [name for name in self.left_out if name in body]
            if "response_format" in left_out:
                raise RequestError(SCHEMA_REFUSED, self.left_out["response_format"], retry=False)
            try:
                reply = self._send(without(body, left_out))
            except _RefusedError as filtered:
                return filtered.reply
            except _FieldRefusedError as refusal:
                with self._lock:
                    if refusal.name not in self.left_out:
                        log.warning("the endpoint takes no %s: %s", refusal.name, refusal.message)
                    self.left_out[refusal.name] = refusal.message
                continue
            reply.left_out = left_out
            return reply

    def _send(self, body: dict[str, Any]) -> Reply:
        import openai

        start = time.perf_counter()
        try:
            completion = self._openai.chat.completions.create(
                model=body["model"], messages=body["messages"], extra_body=without(body, ("model", "messages"))
            )
            return read_reply(completion, time.perf_counter() - start)
        except openai.APITimeoutError:
            raise RequestError("time-out", "no answer in time", retry=True) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise RequestError("connection", self._clean(f"{type(cause).__name__}: {cause}"), retry=True) from None
        except openai.APIStatusError as error:
            raise self._classified(error, body, time.perf_counter() - start) from None
        except (openai.APIError, MalformedReplyError, ValueError, TypeError, AttributeError) as error:
            # Values of another form than the contract says: the client checks none of them.
            raise RequestError("malformed reply", self._clean(str(error)), retry=True) from None

    def _classified(self, error: Any, body: Mapping[str, Any], seconds: float) -> Exception:
        """The exception for a request that the endpoint refused, by what helps: a retry, a change, or the user."""
        status, message = error.status_code, self._clean(_message_of(error))
        code = str(getattr(error, "code", None) or "")
        where = f"{self.source.api} ({self.source.model})"
        if status in (401, 403):
            key = f"the variable {self.source.key_env}" if self.source.key_env else "source.key_env, which is not set"
            return StudyError(f"{where} refuses the key (status {status}: {message}): check {key}")
        if status == 404:
            return StudyError(f"{where} is not there (status 404: {message}): correct source.api or source.model")
        if 300 <= status < 400:
            return StudyError(f"{where} redirects elsewhere (status {status}): name the final address in source.api")
        if status == 429 and ("quota" in code or "billing" in code):
            return StudyError(
                f"{where} gives no more answers (status 429: {message}): check the account, then run again"
            )
        if status in (408, 409, 425, 429) or status >= 500:
            return RequestError(str(status), message, retry=True, headers=dict(error.response.headers))
        if "content_filter" in code or "content_filter" in message or "content management policy" in message:
            return _RefusedError(refused(message, seconds))
        if is_too_long(code, message):
            return RequestError("too long", message, retry=False, too_long=True)
        name = _field_named(getattr(error, "param", None), message, body)
        return _FieldRefusedError(name, message) if name else RequestError(str(status), message, retry=False)

    def _clean(self, text: str) -> str:
        """An endpoint's words in one line, without our key, should they repeat it."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:LONGEST_MESSAGE]


class _FieldRefusedError(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name, self.message = name, message


class _RefusedError(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.refusal)
        self.reply = reply


def key_of(source: ApiModel) -> str | None:
    """The endpoint's key from its environment variable; None where the source names none.

    Raises:
        StudyError: the variable is not set.
    """
    if source.key_env is None:
        return None
    key = os.environ.get(source.key_env, "").strip()
    if not key:
        raise StudyError(
            f"the environment variable {source.key_env} is empty: put the key of {source.api} there "
            "(export it before snakemake starts; it is written nowhere)"
        )
    return key


def without(body: Mapping[str, Any], names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """A request without some fields. Endpoints that refuse `max_tokens` call it `max_completion_tokens`."""
    kept = {name: value for name, value in body.items() if name not in names}
    if "max_tokens" in names and "max_tokens" in body:
        kept["max_completion_tokens"] = body["max_tokens"]
    if "logprobs" in names:
        kept.pop("top_logprobs", None)
    return kept


def is_too_long(code: str, message: str) -> bool:
    """Whether a request was refused since it does not fit the model's window."""
    words = message.lower()
    return "context_length" in code or any(
        phrase in words for phrase in ("context length", "maximum context", "context window", "too many tokens")
    )


def _field_named(param: str | None, message: str, body: Mapping[str, Any]) -> str | None:
    """The optional field that a refusal is about, if it is about one."""
    named = f"{param or ''} {message}"
    return next((name for name in OPTIONAL_FIELDS if name in body and name in named), None)


def _message_of(error: Any) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        return str(message or inner)
    return str(error.message)
