"""Names the probes that would make a search meaningless, and why; runs before every search.

Errors: ``border`` (the answer's first token swallows part of the prompt), ``unreachable`` (its tokens do not
spell it), ``stop-inside`` (greedy reading would end before the answer does), ``same-tokens`` (distractor and
answer are one), ``duplicate`` (a contrast counted twice), ``leak`` (one prompt in two splits), ``too-long``.
Warnings: ``repeated-answer`` (an alternate given twice), ``far-distractor`` (not the model's competitor),
``trailing-space`` (the tokens before the answer are not those of running text).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import AuditError
from bankai.evaluation.batches import prepare_encoded
from bankai.evaluation.scoring import answer_hidden
from bankai.model.tokenizer import end_tokens
from bankai.probes.encode import EncodedAnswer, context_ids, context_text, encode, encode_answer
from bankai.probes.probe import Probe

__all__ = ["FAR_RANK", "Finding", "audit", "require_sound"]

FAR_RANK = 10
"""A distractor whose deciding token ranks below this is not the model's competitor."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason against one probe; ``message`` says why and what to do."""

    probe_id: str
    kind: str
    severity: Literal["error", "warning"]
    message: str


def audit(
    model: PreTrainedModel | None, tokenizer: PreTrainedTokenizerBase, probes: Iterable[Probe]
) -> list[Finding]:
    """All findings, probe by probe, then across probes. Without a model, distractors are not ranked."""
    probes = list(probes)
    encoded = [encode(probe, tokenizer) for probe in probes]
    findings: list[Finding] = []
    for probe, answers in zip(probes, encoded, strict=True):
        findings += _audit_answers(probe, answers, tokenizer)
        findings += _audit_distractor(probe, answers, tokenizer)
    findings += _audit_repeats(probes, tokenizer)
    if model is not None:
        findings += _audit_lengths(probes, encoded, model.config.max_position_embeddings)
        findings += _audit_ranks(probes, encoded, model, tokenizer)
    return findings


def require_sound(
    model: PreTrainedModel | None, tokenizer: PreTrainedTokenizerBase, probes: Iterable[Probe]
) -> list[Finding]:
    """The warnings of an audit without errors. Raises AuditError that names the first bad probes."""
    findings = audit(model, tokenizer, probes)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        shown = "; ".join(f"{error.probe_id}: {error.message}" for error in errors[:_SHOWN])
        more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
        count = f"{len(errors)} fault{'s' if len(errors) > 1 else ''}"
        raise AuditError(f"the audit found {count}: {shown}{more}")
    return findings


def _audit_answers(
    probe: Probe, encoded: Sequence[EncodedAnswer], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Finding]:
    context = context_ids(probe, tokenizer)
    special = end_tokens(tokenizer) | set(tokenizer.all_special_ids)
    for answer, ids in zip(probe.answers, encoded, strict=True):
        if ids.context != context:
            yield _error(
                probe,
                "border",
                f"answer {answer!r} merges with the end of the prompt, so it cannot follow the prompt; "
                "end the prompt in a whole word and begin the answer with the space",
            )
        elif tokenizer.decode(_said(ids, probe), skip_special_tokens=False) != f"{answer}{probe.stop or ''}":
            why = f"the tokens of {answer!r} do not spell it; use characters that the tokenizer has"
            yield _error(probe, "unreachable", why)
        elif special & set(tokenizer(answer, add_special_tokens=False)["input_ids"]):
            yield _error(probe, "unreachable", f"answer {answer!r} holds a special token; take it out")
        if probe.stop is not None and probe.stop in answer:
            why = f"answer {answer!r} contains its stop {probe.stop!r}; give another stop"
            yield _error(probe, "stop-inside", why)
    text = context_text(probe, tokenizer)
    if text[-1:].isspace() and not text.endswith("\n"):
        why = "the text before the answer ends in a space; begin the answers with that space instead"
        yield _warning(probe, "trailing-space", why)
    if len(set(probe.answers)) < len(probe.answers):
        yield _warning(probe, "repeated-answer", "an answer is listed twice; leave one out")


def _said(encoded: EncodedAnswer, probe: Probe) -> tuple[int, ...]:
    """The tokens of an answer that spell it and its stop, if that is a text."""
    return encoded.answer[:-1] if probe.stop is None else encoded.answer


def _audit_distractor(
    probe: Probe, encoded: Sequence[EncodedAnswer], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Finding]:
    if probe.distractor is None:
        return
    ids = encode_answer(probe, probe.distractor, tokenizer).ids
    if any(ids == answer.ids for answer in encoded):
        yield _error(
            probe,
            "same-tokens",
            f"distractor {probe.distractor!r} has the same tokens as an answer; give another or none",
        )


def _audit_repeats(probes: Sequence[Probe], tokenizer: PreTrainedTokenizerBase) -> Iterator[Finding]:
    by_context: dict[str, list[Probe]] = defaultdict(list)
    for probe in probes:
        by_context[context_text(probe, tokenizer)].append(probe)
    for same in by_context.values():
        for index, probe in enumerate(same):
            for earlier in same[:index]:
                if earlier.split != probe.split:
                    yield _error(
                        probe,
                        "leak",
                        f"{earlier.id} in {earlier.split} has the same prompt; keep it in one split",
                    )
                    break
                alike = set(earlier.answers) == set(probe.answers) and earlier.grade == probe.grade
                if alike and earlier.stop == probe.stop:
                    yield _error(probe, "duplicate", f"{earlier.id} asks and answers the same; leave one out")
                    break


def _audit_lengths(
    probes: Sequence[Probe], encoded: Sequence[Sequence[EncodedAnswer]], limit: int
) -> Iterator[Finding]:
    for probe, answers in zip(probes, encoded, strict=True):
        longest = max((len(answer.ids) for answer in answers), default=0)
        if longest > limit:
            yield _error(
                probe, "too-long", f"{longest} tokens, but the model reads {limit}; shorten the prompt"
            )


@torch.no_grad()
def _audit_ranks(
    probes: Sequence[Probe],
    encoded: Sequence[Sequence[EncodedAnswer]],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> Iterator[Finding]:
    asked, deciding = [], []
    for probe, answers in zip(probes, encoded, strict=True):
        if probe.distractor is None or not answers:
            continue
        rival = encode_answer(probe, probe.distractor, tokenizer)
        place = _first_difference(rival, answers)
        if place is not None:
            asked.append(probe)
            ends = rival.ends if place + 1 == len(rival.ids) else ()
            deciding.append((EncodedAnswer(rival.ids[: place + 1], place, ends),))
    for batch in prepare_encoded(deciding).batches:
        logits = model.lm_head(answer_hidden(model, batch))  # one position per probe
        said = logits.gather(1, batch.targets.to(logits.device)).amax(1, keepdim=True)
        ranks = (logits > said).sum(1) + 1
        for owner, rank in zip(batch.owners.tolist(), ranks.tolist(), strict=True):
            if rank > FAR_RANK:
                yield _warning(
                    asked[owner],
                    "far-distractor",
                    f"distractor {asked[owner].distractor!r} ranks {rank} where it parts from the answer; "
                    "give what the model really says",
                )


def _first_difference(rival: EncodedAnswer, answers: Sequence[EncodedAnswer]) -> int | None:
    """Where the distractor leaves every answer: the last of the first differing places; None if nowhere."""
    places = []
    for answer in answers:
        pairs = zip(rival.ids, answer.ids, strict=False)
        places.append(next((i for i, (left, right) in enumerate(pairs) if left != right), None))
    if None in places:
        return None
    place = max(place for place in places if place is not None)
    return place if place >= rival.answer_start else None


def _error(probe: Probe, kind: str, message: str) -> Finding:
    return Finding(probe.id, kind, "error", message)


def _warning(probe: Probe, kind: str, message: str) -> Finding:
    return Finding(probe.id, kind, "warning", message)
