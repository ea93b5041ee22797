"""A chat model's own replies to everyday requests, as the neutral text of a search.

Nothing here prints; progress goes to a listener. Needs the `[search]` extra.
"""

from pathlib import Path

import msgspec

from bankai.errors import AuditError, StoreError, UnsupportedModelError
from bankai.evaluation.engines import open_engine
from bankai.evaluation.known import REPLY_TOKENS
from bankai.evaluation.replies import own_replies
from bankai.jobs.checks import require_base
from bankai.jobs.patch_files import check_output
from bankai.model.tokenizer import choose_chat_template, missing_template
from bankai.probes import Probe, ProbeSet, Split, load_requests
from bankai.steps import StepListener, ignore_steps

__all__ = ["RepliesResult", "write_replies"]


class RepliesResult(msgspec.Struct, frozen=True, kw_only=True):
    """`control` replies are for searches, `unseen` ones for their reports; `left_out` were of fewer than two words."""

    output: str
    model: str
    control: int
    unseen: int
    left_out: int


def write_replies(
    source: str | Path,
    out: Path,
    *,
    max_tokens: int = REPLY_TOKENS,
    chat_template: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> RepliesResult:
    """Ask the model the built-in requests and write its replies, of at most `max_tokens` tokens, as a probe set.

    Raises UnsupportedModelError for a model without a chat template, AuditError when it says nothing, StateError when
    it has patches on, StoreError when `out` cannot be written or does not end in .jsonl.
    """
    if out.suffix.lower() != ".jsonl":
        raise StoreError(f"{out} would be read as plain text by a search; name the file {out.name}.jsonl")
    check_output(out, "probe set", ProbeSet.load)
    require_base(source, "ask")
    engine = open_engine("torch", source, device=device, dtype=dtype)
    choose_chat_template(engine.tokenizer, chat_template)
    if engine.tokenizer.chat_template is None:
        told = missing_template(engine.tokenizer, "give the search a file of neutral text")
        raise UnsupportedModelError(f"{source}: {told}")
    search, report = load_requests()
    requests: dict[str, Split] = {request: "control" for request in search}
    requests |= {request: "unseen" for request in report}
    found: dict[str, Probe | None] = {}
    for request, probe in own_replies(engine, requests, max_tokens=max_tokens):
        found[request] = probe
        listen("reading replies", len(found), len(requests))
    probes = [probe for request in requests if (probe := found[request]) is not None]
    if not any(probe.split == "control" for probe in probes):
        raise AuditError(
            "the model says nothing to everyday requests; read more, with --max-tokens, or give other text"
        )
    ProbeSet(out.stem, probes).save(out)
    counts = {split: sum(probe.split == split for probe in probes) for split in ("control", "unseen")}
    return RepliesResult(
        output=str(out), model=Path(source).name, left_out=len(requests) - len(probes), **counts
    )
