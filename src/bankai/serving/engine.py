"""What a server asks of whatever computes: the next token's logits, for many texts that each have a patch of their own.

An engine is used by one thread. Adding and removing a generation never changes what another one gets: greedy text is
that of the same prompt and patch alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bankai.model.sampling import Logits
from bankai.patch import Patch

__all__ = ["Engine", "Generation"]


@dataclass(eq=False)
class Generation:
    """A text under way. `patch` is what is on for it, composed into one and without flips for the base.

    `key` tells patches apart: what was computed under one key is of no use under another. `tokens` are those chosen
    so far; whoever chooses appends to it. `read`: None, or where the engine puts the logits after each token of the
    prompt but the last, in order, in blocks [tokens, vocabulary]; whoever wants them takes them out between two steps.
    """

    prompt: tuple[int, ...]
    patch: Patch
    key: str
    tokens: list[int] = field(default_factory=list)
    read: list[Logits] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and what was chosen after it."""
        return (*self.prompt, *self.tokens)


class Engine(Protocol):
    """A base model and the generations that it works at.

    `context`: most tokens of a generation, prompt included. `places`: most generations at once. `vocabulary`: length of
    the logits.
    """

    context: int
    places: int
    vocabulary: int

    def add(self, generation: Generation) -> None:
        """Begin with a generation, for which there is a place. Nothing is computed yet."""

    def step(self) -> Sequence[tuple[Generation, Logits]]:
        """Compute, and return the logits after `ids` for some generations; for none while long prompts are read.

        Before the next step every one of these has had a token appended or was removed.
        """

    def remove(self, generation: Generation) -> None:
        """Free the place of a generation, finished or not."""

    def close(self) -> None:
        """Free everything. Nothing happens the second time."""
