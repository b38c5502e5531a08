"""What an endpoint sent back, as plain values that a cache can keep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from slingshot.prompting.thinking import split_thinking

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion


IMPOSSIBLE = -10_000.0  # the log-probability of a token that cannot be


class MalformedReplyError(Exception):
    """A reply that is no answer: half of one, or of another form. Worth another try."""


@dataclass
class Usage:
    """Tokens as the endpoint counts them. `cached` are part of `prompt`, `thinking` of `completion`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    thinking: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.thinking + other.thinking,
        )


@dataclass
class TokenChoice:
    """A token of the answer with its log-probability, and what else was likely in its place."""

    text: str
    log_probability: float
    others: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Reply:
    """One answer. `refusal` holds what the endpoint said instead of one.

    `usage` is None where the endpoint counted nothing; `left_out` names what it would not take of the request;
    `kept_share` is below 1 where the dialogue lost its middle to fit the model's window.
    """

    content: str
    thinking: str | None
    finish_reason: str | None
    refusal: str | None
    usage: Usage | None
    model: str
    fingerprint: str | None
    tokens: list[TokenChoice]
    date: str
    seconds: float
    left_out: list[str] = field(default_factory=list)
    kept_share: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Reply:
        usage = Usage(**kept["usage"]) if kept["usage"] else None
        tokens = [
            TokenChoice(token["text"], token["log_probability"], [(text, value) for text, value in token["others"]])
            for token in kept["tokens"]
        ]
        return cls(**kept | {"usage": usage, "tokens": tokens})


def refused(reason: str, seconds: float) -> Reply:
    """The reply that stands for an endpoint's filter turning a request down."""
    return Reply("", None, "content_filter", reason, None, "", None, [], _now(), seconds)


def read_reply(completion: ChatCompletion, seconds: float) -> Reply:
    """Take what is needed out of a chat completion.

    Raises:
        MalformedReplyError: it holds no choice, or a choice without any text, thinking or refusal.
    """
    if not getattr(completion, "choices", None) or getattr(completion.choices[0], "message", None) is None:
        raise MalformedReplyError("a reply without choices")
    choice = completion.choices[0]
    message, extra = choice.message, choice.message.model_extra or {}
    thinking = extra.get("reasoning_content") or extra.get("reasoning")
    content, finish = message.content, choice.finish_reason
    refusal = message.refusal or ("stopped by the endpoint's filter" if finish == "content_filter" else None)
    if content is None and not thinking and not refusal and finish != "length":
        raise MalformedReplyError("a reply without an answer")
    if content is not None and not isinstance(content, str):
        raise MalformedReplyError("an answer that is no text")
    if not thinking and content:
        spoken = split_thinking(content)
        thinking, content = spoken.thinking, spoken.answer
    return Reply(
        content=content or "",
        thinking=str(thinking) if thinking else None,
        finish_reason=finish,
        refusal=refusal,
        usage=_usage(completion),
        model=completion.model or "",
        fingerprint=completion.system_fingerprint,
        tokens=_tokens(choice),
        date=_now(),
        seconds=seconds,
    )


def _usage(completion: ChatCompletion) -> Usage | None:
    usage = completion.usage
    if usage is None:
        return None
    prompt, completed = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        prompt=usage.prompt_tokens or 0,
        cached=(prompt.cached_tokens or 0) if prompt else 0,
        completion=usage.completion_tokens or 0,
        thinking=(completed.reasoning_tokens or 0) if completed else 0,
    )


def _tokens(choice: Any) -> list[TokenChoice]:
    chosen = choice.logprobs.content if choice.logprobs and choice.logprobs.content else []
    return [
        TokenChoice(one.token, _finite(one.logprob), [(other.token, _finite(other.logprob)) for other in _others(one)])
        for one in chosen
    ]


def _others(token: Any) -> list[Any]:
    return token.top_logprobs or []


def _finite(log_probability: float) -> float:
    """Servers write impossible tokens as -inf or NaN, which JSON does not know."""
    return max(log_probability, IMPOSSIBLE) if log_probability == log_probability else IMPOSSIBLE


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
