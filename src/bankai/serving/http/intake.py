"""From a request to the job that it is: which patches, which tokens, how to choose.

Contract: what comes out can be computed as it stands. Works in the thread of whoever calls, for as long as a chat
template and a tokenizer take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from bankai.errors import BadRequestError, UnsupportedModelError
from bankai.model.chat import render_chat
from bankai.model.sampling import Sampler
from bankai.serving.catalog import Catalog, Served
from bankai.serving.http.replies import ChatReply, CompletionReply, Reply
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
                f"the prompt has {len(prompt)} tokens, the context holds {self._context} with the answer; shorten it"
            )
        temperature, top_p = (
            1.0 if value is None else value for value in (request.temperature, request.top_p)
        )
        seed = None if request.seed is None else request.seed % 2**64
        sampler = Sampler(temperature, top_p, seed, request.top)
        most = min(request.most or room, room)
        job = Job(tuple(prompt), served.patch, served.key, most, sampler, request.stops)
        kind = ChatReply if isinstance(request, ChatRequest) else CompletionReply
        return Accepted(job, kind(self._catalog.base, served, self._tokenizer, request.top), served)

    def _prompt(self, request: ChatRequest | CompletionRequest) -> Sequence[int]:
        if isinstance(request, ChatRequest):
            return self._tokens(self._rendered(request), special=False)
        if isinstance(request.prompt, str):
            return self._tokens(request.prompt, special=True)
        if not all(0 <= token < self._vocabulary for token in request.prompt):
            raise BadRequestError(f"a token of the prompt is not from 0 to {self._vocabulary - 1}")
        return self._nonempty(request.prompt)

    def _rendered(self, request: ChatRequest) -> str:
        if not self._tokenizer.chat_template:
            raise BadRequestError("this model has no chat template; ask by /v1/completions")
        try:
            return render_chat(self._tokenizer, [message.plain() for message in request.messages])
        except UnsupportedModelError as error:
            raise BadRequestError(str(error)) from None

    def _tokens(self, text: str, *, special: bool) -> Sequence[int]:
        return self._nonempty(self._tokenizer.encode(text, add_special_tokens=special))

    @staticmethod
    def _nonempty(tokens: Sequence[int]) -> Sequence[int]:
        if not tokens:
            raise BadRequestError("the prompt is empty; give at least one token")
        return tokens
