"""What can be asked of the server, in the shapes of OpenAI's API.

Contract: a request is taken as it means, or refused with a ValidationError that names the field. What is not supported
is refused, unless its value asks for nothing: at every depth null does, and what a field has when nobody sets it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from bankai.model.chat import RESERVED

__all__ = ["ChatRequest", "CompletionRequest", "Message", "StreamOptions", "explain"]

_Values = Mapping[str, tuple[Any, ...]]
"""By field that is not supported: values that ask for nothing."""

_MOST = 4096  # messages, and parts of one: each takes time in which nobody else is heard
_LONGEST = 100  # of the name of a field that is told
_Top = Annotated[int, Field(ge=0, le=20)]
_Stop = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    """Types as they stand: "1" is no number, and 1 is not true."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    nothing: ClassVar[_Values] = {}
    unused: ClassVar[tuple[str, ...]] = ("cache_control",)
    """Fields that change no answer, for the books of a provider."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nothing(cls, data: Any) -> Any:
        """The rest of what is unknown is refused as such."""
        if not isinstance(data, dict):
            return data
        return {
            name: value
            for name, value in data.items()
            if not (value is None or name in cls.unused or value in cls.nothing.get(name, ()))
        }


class StreamOptions(_Strict):
    """Options of a stream."""

    nothing = {"continuous_usage_stats": (False,), "include_obfuscation": (False,)}

    include_usage: bool = False


class _Part(_Strict):
    """A part of a message."""

    nothing = {"annotations": ([],)}

    type: Literal["text"]
    text: str


class Message(_Strict):
    """A message of a chat; a developer is the system. An assistant may have said nothing."""

    nothing = {
        "annotations": ([],),
        "audio": (),
        "function_call": (),
        "name": ("",),
        "reasoning": ("",),
        "reasoning_content": ("",),
        "refusal": ("",),
        "tool_calls": ([],),
    }

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[_Part], Field(max_length=_MOST, fail_fast=True)]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _take_silence(cls, data: Any) -> Any:
        silent = isinstance(data, dict) and data.get("role") == "assistant" and data.get("content") is None
        return data | {"content": ""} if silent else data

    def plain(self) -> dict[str, str]:
        """As a chat template wants it."""
        role = "system" if self.role == "developer" else self.role
        parts = self.content if isinstance(self.content, list) else [_Part(type="text", text=self.content)]
        named = {} if self.name is None else {"name": self.name}
        return {"role": role, "content": "".join(part.text for part in parts)} | named


class _Request(_Strict):
    """What chats and completions share. `patches` are put on beside those that the model's name asks for."""

    nothing = {
        "audio": (),
        "best_of": (1,),
        "continue_final_message": (False,),
        "documents": ([],),
        "echo": (False,),
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "ignore_eos": (False,),
        "include_stop_str_in_output": (False,),
        "length_penalty": (1,),
        "logit_bias": ({},),
        "min_p": (0,),
        "min_tokens": (0,),
        "mirostat": (0,),
        "modalities": (["text"],),
        "n": (1,),
        "parallel_tool_calls": (True, False),
        "prediction": (),
        "presence_penalty": (0,),
        "reasoning_effort": ("none",),
        "repeat_penalty": (1,),
        "repetition_penalty": (1,),
        "response_format": ({"type": "text"},),
        "return_tokens_as_token_ids": (False,),
        "service_tier": ("auto", "default"),
        "skip_special_tokens": (True,),
        "store": (False,),
        "suffix": ("",),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_k": (0, -1),
        "typical_p": (1,),
        "use_beam_search": (False,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
    unused = (
        *("cache_control", "cache_prompt", "metadata", "prompt_cache_key", "prompt_cache_retention"),
        *("safety_identifier", "user"),
    )

    model: Annotated[str, Field(max_length=10_000)]
    patches: Annotated[list[str] | None, Field(max_length=64)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] | None = None
    stop_token_ids: Annotated[list[int] | None, Field(max_length=_MOST, fail_fast=True)] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("stream_options")
    @classmethod
    def _refuse_options_without_stream(
        cls, options: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        if options and options.include_usage and not info.data.get("stream"):
            raise ValueError("stream_options are for a stream; ask with stream: true")
        return options

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(_Request):
    """The body of /v1/chat/completions. `chat_template_kwargs` are variables of the model's chat template."""

    nothing = _Request.nothing | {"add_generation_prompt": (True,), "add_special_tokens": (False,)}

    messages: Annotated[list[Message], Field(min_length=1, max_length=_MOST, fail_fast=True)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: _Top | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @field_validator("top_logprobs")
    @classmethod
    def _refuse_top_alone(cls, top: int | None, info: ValidationInfo) -> int | None:
        if top and not info.data.get("logprobs"):
            raise ValueError("top_logprobs are for log-probabilities; ask with logprobs: true")
        return top

    @field_validator("chat_template_kwargs")
    @classmethod
    def _refuse_reserved(cls, variables: dict[str, Any] | None) -> dict[str, Any] | None:
        for name in variables or {}:
            if name in RESERVED:
                raise ValueError(f"{name} is no variable of a request; leave it out")
        return variables

    @property
    def most(self) -> int | None:
        """Most tokens to write; None for as many as there is room for."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def top(self) -> int | None:
        """How many most likely tokens to tell; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Request):
    """The body of /v1/completions. The prompt is a text, or its tokens; with `echo` it stands in the answer."""

    nothing = _Request.nothing | {"add_special_tokens": (True,)}

    prompt: str | Annotated[list[int], Field(fail_fast=True)]
    max_tokens: Annotated[int | None, Field(ge=0)] = None
    logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    echo: bool | None = None

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

    @field_validator("logprobs", mode="before")
    @classmethod
    def _take_no_for_none(cls, logprobs: Any) -> Any:
        return None if logprobs is False else logprobs

    @property
    def most(self) -> int:
        """Most tokens to write: 16 unless given, as OpenAI has it."""
        return 16 if self.max_tokens is None else self.max_tokens

    @property
    def top(self) -> int | None:
        """How many most likely tokens to tell; None for no log-probabilities."""
        return self.logprobs


_KINDS = (ChatRequest, CompletionRequest, Message, StreamOptions, _Part)
_UNSUPPORTED = {name for kind in _KINDS for name in kind.nothing}


def explain(error: ValidationError) -> tuple[str, str | None]:
    """What is wrong, in a line without anything of the request, and the field that it is about.

    Of what may be one type or another, all types are in the error: a fault inside the right one tells more.
    """
    found = error.errors(include_url=False, include_input=False)
    first = max(found, key=lambda one: (len(one["loc"]), not one["type"].endswith("_type")))
    named = [part for part in first["loc"] if isinstance(part, str) and part not in ("str", "int")]
    path = [part for part in named if part.isidentifier() and len(part) <= _LONGEST]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden" and first["loc"][-1] in _UNSUPPORTED:
        message = "not supported by this server; leave it out"
    return f"{'.'.join(path)}: {message}" if path else message, path[0] if path else None
