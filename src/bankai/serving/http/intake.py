"""From a request to the job that it is: which patches, which tokens, how to choose.

Contract: what comes out can be computed as it stands. Works in the thread of whoever calls, for as long as a chat
template and a tokenizer take.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from bankai.errors import BadRequestError, UnsupportedModelError
from bankai.model.chat import render_chat
from bankai.model.sampling import Sampler
from bankai.model.token_bytes import spell_out, token_bytes
from bankai.serving.catalog import Catalog, Served
from bankai.serving.http.replies import ChatReply, CompletionReply, Echo, Reply
from bankai.serving.http.schemas import ChatRequest, CompletionRequest
from bankai.serving.scheduler import Job

__all__ = ["Accepted", "Intake"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that can be computed, and what its answer begins with."""

    job: Job
    reply: Reply
    served: Served


class Intake:
    """Judges requests to one base.

    `context`: most tokens of a text, prompt included; `vocabulary`: how many different ones there are.
    """

    def __init__(
        self, catalog: Catalog, tokenizer: PreTrainedTokenizerBase, context: int, vocabulary: int
    ) -> None:
        self._catalog, self._tokenizer = catalog, tokenizer
        self._context, self._vocabulary = context, vocabulary

    def accept(self, request: ChatRequest | CompletionRequest) -> Accepted:
        """Raises UnknownModelError, BadRequestError and LibraryError."""
        served = self._catalog.resolve([*self._catalog.names(request.model), *(request.patches or ())])
        prompt = self._prompt(request)
        room = self._context - len(prompt)
        if room < 1:
            raise BadRequestError(
                f"the prompt has {len(prompt)} tokens, the context holds {self._context} with the answer; shorten it",
                _asked_in(request),
            )
        ends = frozenset(request.stop_token_ids or ())
        if not self._known(ends):
            raise BadRequestError(
                f"stop_token_ids: a token is not from 0 to {self._vocabulary - 1}", "stop_token_ids"
            )
        temperature, top_p = (
            1.0 if value is None else value for value in (request.temperature, request.top_p)
        )
        seed = None if request.seed is None else request.seed % 2**64
        sampler = Sampler(temperature, top_p, seed, request.top)
        most = room if request.most is None else min(request.most, room)
        scored = isinstance(request, CompletionRequest) and bool(request.echo) and request.top is not None
        job = Job(tuple(prompt), served.patch, served.key, most, sampler, request.stops, ends, scored)
        return Accepted(job, self._reply(request, served, prompt), served)

    def _prompt(self, request: ChatRequest | CompletionRequest) -> Sequence[int]:
        if isinstance(request, ChatRequest):
            tokens: Sequence[int] = self._encode(self._rendered(request), special=False)
        elif isinstance(request.prompt, str):
            tokens = self._encode(request.prompt, special=True)
        else:
            tokens = request.prompt
        if not self._known(tokens):
            raise BadRequestError(f"a token of the prompt is not from 0 to {self._vocabulary - 1}", "prompt")
        if not tokens:
            raise BadRequestError("the prompt is empty; give at least one token", _asked_in(request))
        return tokens

    def _rendered(self, request: ChatRequest) -> str:
        if not self._tokenizer.chat_template:
            raise BadRequestError("this model has no chat template; ask by /v1/completions", "messages")
        messages = [message.plain() for message in request.messages]
        try:
            return render_chat(self._tokenizer, messages, request.chat_template_kwargs or {})
        except UnsupportedModelError as error:
            raise BadRequestError(str(error), "messages") from None

    def _reply(
        self, request: ChatRequest | CompletionRequest, served: Served, prompt: Sequence[int]
    ) -> Reply:
        if isinstance(request, ChatRequest):
            return ChatReply(self._catalog.base, served, self._tokenizer, request.top)
        echo = self._echo(request, prompt) if request.echo else None
        return CompletionReply(self._catalog.base, served, self._tokenizer, request.top, echo)

    def _echo(self, request: CompletionRequest, prompt: Sequence[int]) -> Echo:
        """The prompt as it was sent: special tokens are shown, but not those that are put before every text."""
        sent: Sequence[int] = prompt
        if isinstance(request.prompt, str):
            sent = self._encode(request.prompt, special=False)
        shown = [token_bytes(self._tokenizer, token) for token in sent]
        return Echo(*spell_out([b""] * (len(prompt) - len(sent)) + shown))

    def _encode(self, text: str, *, special: bool) -> Sequence[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=special)
        return tokens

    def _known(self, tokens: Iterable[int]) -> bool:
        return all(0 <= token < self._vocabulary for token in tokens)


def _asked_in(request: ChatRequest | CompletionRequest) -> str:
    """The field that holds the prompt."""
    return "messages" if isinstance(request, ChatRequest) else "prompt"
