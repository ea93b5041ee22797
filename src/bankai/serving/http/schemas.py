"""What can be asked of the server, in the shapes of OpenAI's API.

Contract: a request is taken as it means, or refused with a ValidationError that names the field. What is not supported
is refused, unless its value asks for nothing.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

__all__ = ["ChatRequest", "CompletionRequest", "Message", "StreamOptions", "explain"]

_NOTHING: dict[str, tuple[Any, ...]] = {  # by field that is not supported: values that ask for nothing
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none",),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}
_UNUSED = ("metadata", "prompt_cache_key", "safety_identifier", "user")  # for the books of a provider

_MOST = 4096  # messages, and parts of one: each takes time in which nobody else is heard
_LONGEST = 100  # of the name of a field that is told
_Top = Annotated[int, Field(ge=0, le=20)]
_Stop = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    """Types as they stand: "1" is no number, and 1 is not true."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class StreamOptions(_Strict):
    """Options of a stream."""

    include_usage: bool = False


class _Part(_Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(_Strict):
    """A message of a chat; a developer is the system."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[_Part], Field(max_length=_MOST, fail_fast=True)]

    def plain(self) -> dict[str, str]:
        """As a chat template wants it."""
        role = "system" if self.role == "developer" else self.role
        parts = self.content if isinstance(self.content, list) else [_Part(type="text", text=self.content)]
        return {"role": role, "content": "".join(part.text for part in parts)}


class _Request(_Strict):
    """What chats and completions share. `patches` are put on beside those that the model's name asks for."""

    model: Annotated[str, Field(max_length=10_000)]
    patches: Annotated[list[str] | None, Field(max_length=64)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_the_unsupported(cls, data: Any) -> Any:
        """Leave out what asks for nothing; the rest of what is unknown is refused as such."""
        if not isinstance(data, dict):
            return data
        for name in data.keys() & _NOTHING.keys():
            if data[name] is not None and data[name] not in _NOTHING[name]:
                raise ValueError(f"{name} is not supported by this server; leave it out")
        dropped = {*_NOTHING, *_UNUSED}
        return {name: value for name, value in data.items() if name not in dropped}

    @model_validator(mode="after")
    def _refuse_options_without_stream(self) -> "_Request":
        if self.stream_options and not self.stream:
            raise ValueError("stream_options are for a stream; ask with stream: true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(_Request):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=_MOST, fail_fast=True)]
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: _Top | None = None

    @model_validator(mode="after")
    def _refuse_top_alone(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs are for log-probabilities; ask with logprobs: true")
        return self

    @property
    def most(self) -> int | None:
        """Most tokens to write; None for as many as there is room for."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """How many most likely tokens to tell; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Request):
    """The body of /v1/completions. The prompt is a text, or its tokens."""

    prompt: str | Annotated[list[int], Field(fail_fast=True)]
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _take_a_list_of_one(cls, prompt: Any) -> Any:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            if len(prompt) > 1:
                raise ValueError(
                    "several prompts in one request are not supported; send one request for each"
                )
            return prompt[0]
        return prompt

    @property
    def most(self) -> int | None:
        """Most tokens to write: 16 unless given, as OpenAI has it."""
        return self.max_tokens or 16

    @property
    def top(self) -> int | None:
        """How many most likely tokens to tell; None for no log-probabilities."""
        return self.logprobs


def explain(error: ValidationError) -> tuple[str, str | None]:
    """What is wrong, in a line without anything of the request, and the field that it is about."""
    first = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
    named = [part for part in first["loc"] if isinstance(part, str) and part not in ("str", "int")]
    path = [part for part in named if part.isidentifier() and len(part) <= _LONGEST]
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(path)}: {message}" if path else message, path[0] if path else None
