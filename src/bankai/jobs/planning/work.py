"""What a search reads, encoded and cut into batches as the search does it, without a model. Counts are exact."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from bankai.architectures import Architecture
from bankai.evaluation.batches import Batch, Prepared, prepare
from bankai.jobs.task import Task
from bankai.probes.probe import Probe, Split
from bankai.search.parts import Contents, draw_texts, encode_parts

__all__ = ["Work"]

REPORTED: tuple[Split, ...] = ("heldout", "unknown", "unseen")


@dataclass(frozen=True)
class Work:
    """`tokens` are those that one evaluation reads, without padding; `texts` windows of neutral text.

    `reports` are read twice after the search, with and without the patch; `audited` once before it.
    """

    parts: tuple[Contents, ...]
    targets: int
    controls: int
    texts: int
    tokens: int
    validation: Prepared
    reports: tuple[Prepared, ...]
    audited: Prepared

    @classmethod
    def of(
        cls,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        architecture: Architecture,
        layers: int,
        neutral: int | None = None,
    ) -> "Work":
        """For a model of so many layers; a round reads about so many `neutral` tokens. Raises what encoding raises."""
        recurrent = architecture.recurrent

        def whole(probes: Iterable[Probe]) -> Prepared:
            prepared = prepare(tokenizer, probes)
            return prepared.as_sequences() if recurrent else prepared

        slices, order = encode_parts(tokenizer, task.searched)
        parts = tuple(Contents(layers, *some, recurrent=recurrent) for some in slices)
        draw_texts(parts, neutral, "")
        distracted = [probe for probe in task.whole if probe.distractor is not None]
        return cls(
            parts=parts,
            targets=len(order),
            controls=len(task.searched.controls),
            texts=sum(part.texts for part in parts),
            tokens=sum(batch.unpadded for part in parts for batch in part.all_read()),
            validation=whole(task.searched.validation),
            reports=tuple(whole(task.whole.split(split)) for split in REPORTED),
            audited=whole(distracted),
        )

    @property
    def reads(self) -> int:
        """Targets, controls and windows of text read in one evaluation."""
        return self.targets + self.controls + self.texts

    @property
    def padded_tokens(self) -> int:
        """Tokens of one evaluation as they are computed."""
        return sum(batch.tokens for batch in self.batches())

    def batches(self) -> Iterator[Batch]:
        """All that the search caches, part by part."""
        for part in self.parts:
            yield from part.all_read()
