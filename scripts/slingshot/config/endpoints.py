"""A model behind an OpenAI-compatible chat endpoint: where it is, what may be sent there, what its tokens cost."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from slingshot.config.base import MOST_MONEY, Count, Share, Spec

OWN_FIELDS = ("model", "messages", "stream", "n", "response_format", "logprobs", "top_logprobs", "max_tokens")


class ApiModel(Spec):
    """A model behind an OpenAI-compatible chat endpoint: vLLM, SGLang, Ollama, a commercial service."""

    api: str = Field(pattern=r"^https?://", description="base URL of the endpoint, e.g. http://127.0.0.1:8000/v1")
    model: str = Field(min_length=1, description="the model's name at the endpoint")
    key_env: str | None = Field(None, description="name of the environment variable that holds the endpoint's key")
    sends_texts: bool = Field(
        False, description="dialogues may leave this machine; needed for every host but loopback ones"
    )
    parameters: dict[str, Any] = Field(
        default={}, description="further fields of each request, e.g. {reasoning_effort: low, seed: 1}"
    )

    @field_validator("api")
    @classmethod
    def _is_a_plain_url(cls, api: str) -> str:
        parts = urlsplit(api)
        if not parts.hostname:
            raise ValueError("names no host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user, key or query: a key belongs in the variable that key_env names")
        return api.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):  # it may be a key: don't show it
            raise ValueError("must be the name of an environment variable, not the key itself")
        return name

    @field_validator("parameters")
    @classmethod
    def _leaves_our_fields_alone(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        ours = [name for name in OWN_FIELDS if name in parameters]
        if ours:
            raise ValueError(f"sets {', '.join(ours)}, which prompt and generation decide")
        return parameters

    @model_validator(mode="after")
    def _sends_texts_only_if_told_so(self) -> ApiModel:
        if not self.sends_texts and not is_loopback(self.host):
            raise ValueError(
                f"would send the dialogues to {self.host}, another machine: say sends_texts: true if they may go there"
            )
        return self

    @property
    def host(self) -> str:
        return urlsplit(self.api).hostname or ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name alone; no name is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TokenPrices(Spec):
    """What an endpoint charges, in the study's currency per million tokens."""

    input: float = Field(ge=0, le=MOST_MONEY, description="per million prompt tokens")
    cached: float | None = Field(
        None,
        ge=0,
        le=MOST_MONEY,
        description="per million prompt tokens that the endpoint had in its cache; null: as input",
    )
    output: float = Field(ge=0, le=MOST_MONEY, description="per million tokens of answers, thinking included")


class Asking(Spec):
    """How an endpoint is asked. Never part of a step's spec: results do not depend on it."""

    at_once: int = Field(8, ge=1, le=1000, description="requests that wait for an answer at the same time")
    per_minute: Count | None = Field(None, description="requests per minute at most; null: no limit")
    tokens_per_minute: int | None = Field(
        None, ge=1, le=10**12, description="tokens per minute at most, by an estimate from the texts; null: no limit"
    )
    timeout_seconds: float = Field(
        120, gt=0, le=86_400, description="a request without an answer after N seconds is repeated"
    )
    retries: int = Field(6, ge=0, le=100, description="repetitions of a request that failed, each after a longer wait")
    allowed_errors: Share = Field(
        0.01, description="share of the samples that may stay without an answer; with more the step stops"
    )
