"""What a search reads, encoded and cut into batches as the search does it, without a model. Counts are exact."""

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from bankai.evaluation.scoring import Batch, Prepared, prepare, prepare_encoded
from bankai.jobs.task import Task
from bankai.probes import Split
from bankai.search.parts import encode_parts

__all__ = ["PartWork", "Work"]

REPORTED: tuple[Split, ...] = ("heldout", "unknown", "unseen")


@dataclass(frozen=True)
class PartWork:
    """Batches of one part of the search; `probes` counts targets, controls and windows of text."""

    answers: Prepared
    neutral: Prepared
    probes: int

    @property
    def batches(self) -> tuple[Batch, ...]:
        return *self.answers.batches, *self.neutral.batches


@dataclass(frozen=True)
class Work:
    """`tokens` are those that one evaluation reads, without padding; `texts` windows of neutral text.

    `reports` are read twice after the search, with and without the patch; `audited` once before it.
    """

    parts: tuple[PartWork, ...]
    targets: int
    controls: int
    texts: int
    tokens: int
    validation: Prepared
    reports: tuple[Prepared, ...]
    audited: Prepared

    @classmethod
    def of(cls, task: Task, tokenizer: PreTrainedTokenizerBase) -> "Work":
        """Raises what encoding raises."""
        slices, order = encode_parts(tokenizer, task.searched)
        read = [answer for some in slices for probe in (*some[0], *some[1]) for answer in probe]
        texts = [text for *_, some in slices for text in some]
        distracted = [probe for probe in task.whole if probe.distractor is not None]
        return cls(
            parts=tuple(
                PartWork(
                    prepare_encoded([*targets, *controls]),
                    prepare_encoded([[text] for text in neutral]),
                    len(targets) + len(controls) + len(neutral),
                )
                for targets, controls, neutral in slices
            ),
            targets=len(order),
            controls=len(task.searched.controls),
            texts=len(texts),
            tokens=sum(len(one.ids) - 1 for one in (*read, *texts)),  # the last is only a target
            validation=prepare(tokenizer, task.searched.validation),
            reports=tuple(prepare(tokenizer, task.whole.split(split)) for split in REPORTED),
            audited=prepare(tokenizer, distracted),
        )

    @property
    def reads(self) -> int:
        """Targets, controls and windows of text read in one evaluation."""
        return self.targets + self.controls + self.texts

    @property
    def padded_tokens(self) -> int:
        """Tokens of one evaluation as they are computed."""
        return sum(batch.ids.numel() for batch in self.batches())

    def batches(self) -> Iterator[Batch]:
        """All that the search caches, part by part."""
        for part in self.parts:
            yield from part.batches
