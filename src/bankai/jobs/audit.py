"""What is wrong with a probe set for a model, and which of the failures in it the model knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bankai.evaluation.audit import Finding, audit
from bankai.evaluation.engine import Engine
from bankai.evaluation.engines import TorchEngine
from bankai.evaluation.grading import results
from bankai.evaluation.known import (
    REPLY_TOKENS,
    KnowledgeReport,
    by_item,
    count_known,
    find_known,
    read_replies,
)
from bankai.model import load
from bankai.probes import Known, Probe, Split, load_probe_set
from bankai.steps import StepListener, ignore_steps

__all__ = ["Audited", "audit_file"]

WANTED: frozenset[Split] = frozenset({"target", "validation", "heldout", "unknown"})
"""The splits of what a patch is to fix."""


@dataclass(frozen=True, slots=True)
class Audited:
    """The findings, and what is known of the failures among sound probes that a patch is to fix."""

    findings: list[Finding]
    knowledge: KnowledgeReport


def audit_file(
    source: str | Path,
    probe_set: str | Path,
    *,
    max_tokens: int = REPLY_TOKENS,
    listen: StepListener = ignore_steps,
) -> Audited:
    """The findings of an audit, and which failures are known.

    What the set itself says of a probe is taken. Of the others `max_tokens` tokens of the model's reply are read; with
    0 only examples tell. Raises what reading either raises.
    """
    probes = load_probe_set(probe_set)
    model, tokenizer = load(source)
    findings = audit(model, tokenizer, probes)
    bad = {finding.probe_id for finding in findings if finding.severity == "error"}
    sound = [probe for probe in probes if probe.id not in bad]
    return Audited(findings, _knowledge(TorchEngine(model, tokenizer), sound, max_tokens, listen))


def _knowledge(
    engine: Engine, probes: Sequence[Probe], max_tokens: int, listen: StepListener
) -> KnowledgeReport:
    wanted = [probe for probe in probes if probe.split in WANTED]
    solved = [result.solved for result in results(engine, wanted, listen=listen)]
    failing = [probe for probe, passes in zip(wanted, solved, strict=True) if not passes]
    passed = {probe.item for probe, passes in zip(wanted, solved, strict=True) if passes}
    said: dict[str, Known] = {probe.id: probe.known for probe in failing if probe.known}
    silent = [probe for probe in failing if probe.id not in said]
    replies = read_replies(engine, silent, max_tokens, listen)
    found = said | find_known(engine, silent, probes, replies, listen=listen)
    return count_known(by_item(found, failing, passed), failing)
