"""A chat model's own replies to everyday requests, as the neutral text of a search: asked once, kept in a cache.

The cache is `bankai/replies` in the folder that XDG_CACHE_HOME names, else in ~/.cache. Nothing here prints; progress
goes to a listener. Needs the `[search]` extra.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import msgspec
from transformers import PreTrainedTokenizerBase

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import AuditError, ProbeFormatError, StoreError, UnsupportedModelError
from bankai.evaluation.engine import Engine
from bankai.evaluation.engines import open_engine
from bankai.evaluation.known import REPLY_TOKENS
from bankai.evaluation.replies import own_replies
from bankai.jobs.checks import require_base
from bankai.jobs.patch_files import check_output
from bankai.jobs.task import Task
from bankai.model.chat import render_chat
from bankai.model.loader import check_device
from bankai.model.tokenizer import choose_chat_template, make_tokenizer, missing_template
from bankai.patch import fingerprint
from bankai.probes import Message, Probe, ProbeSet, Split, load_requests
from bankai.search import SearchSettings
from bankai.steps import StepListener, ignore_steps

__all__ = [
    "NO_TEXT",
    "RepliesResult",
    "ask_replies",
    "kept_replies",
    "longest_replies",
    "neutral_replies",
    "wants_replies",
    "with_replies",
    "write_replies",
]

NO_TEXT = "none"
"""In the place of a neutral text: a search goes without the replies that it would take by itself."""


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
    """Write what :func:`neutral_replies` gives as a probe set.

    Raises what that raises, and StoreError when `out` cannot be written or does not end in .jsonl.
    """
    if out.suffix.lower() != ".jsonl":
        raise StoreError(f"{out} would be read as plain text by a search; name the file {out.name}.jsonl")
    check_output(out, "probe set", ProbeSet.load)
    replies = neutral_replies(
        source,
        max_tokens=max_tokens,
        chat_template=chat_template,
        device=device,
        dtype=dtype,
        listen=listen,
    )
    ProbeSet(out.stem, replies).save(out)
    return RepliesResult(
        output=str(out),
        model=Path(source).name,
        control=len(replies.split("control")),
        unseen=len(replies.split("unseen")),
        left_out=len(_requests()) - len(replies),
    )


def neutral_replies(
    source: str | Path,
    *,
    max_tokens: int = REPLY_TOKENS,
    chat_template: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> ProbeSet:
    """The model's replies, of at most `max_tokens` tokens, to the built-in requests: asked once, then from the cache.

    `control` replies are for a search, `unseen` ones for its report. `listen` is told of those that are asked. A cache
    that cannot be written is left alone. Raises UnsupportedModelError for a model without a chat template, AuditError
    when it says nothing, StateError when it has patches on, DeviceError.
    """
    require_base(source, "ask")
    check_device(device)
    path = _cache_file(source, max_tokens, chat_template, dtype)
    if (kept := _kept(path)) is not None:
        return kept
    replies = _ask(source, max_tokens, chat_template, device, dtype, listen)
    if path is not None:
        with suppress(OSError, StoreError):  # as in a folder that is read-only: then it is asked again
            path.parent.mkdir(parents=True, exist_ok=True)
            replies.save(path)
    return replies


def kept_replies(
    source: str | Path,
    *,
    max_tokens: int = REPLY_TOKENS,
    chat_template: str | None = None,
    dtype: str = "float32",
) -> ProbeSet | None:
    """Those in the cache, None where there are none or the file is damaged. Raises what opening the model raises."""
    return _kept(_cache_file(source, max_tokens, chat_template, dtype))


def longest_replies(max_tokens: int = REPLY_TOKENS) -> ProbeSet:
    """Stand-ins for replies that nobody has asked for yet, to plan with: to every request about the most tokens."""
    stand_in = " ".join(["the"] * max_tokens)
    return ProbeSet(
        "replies",
        [
            Probe(
                id=f"reply/{request}",
                item=request,
                category="reply",
                split=split,
                answers=(stand_in,),
                messages=(Message("user", request),),
                stop=".",
            )
            for request, split in _requests().items()
        ],
    )


def wants_replies(task: Task, source: str | Path, settings: SearchSettings) -> bool:
    """Whether a search takes the model's own replies by itself.

    It does when a target is a chat, the model has a chat template that takes a bare request and the drift has a
    weight, unless the task already has replies to the built-in requests, such as :func:`write_replies` wrote. Raises
    what opening the model raises.
    """
    if not settings.drift or not any(probe.messages for probe in task.searched.targets):
        return False
    given = {text.item for text in (*task.searched.texts, *task.unread) if isinstance(text, Probe)}
    if given & _requests().keys():
        return False
    with open_checkpoint(source) as checkpoint:
        tokenizer = checkpoint.tokenizer()
    return tokenizer.chat_template is not None and _takes_requests(make_tokenizer(tokenizer))


def with_replies(
    task: Task,
    source: str | Path,
    settings: SearchSettings,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> Task:
    """The task, with the model's own replies as neutral text where a search wants them (:func:`wants_replies`).

    It is left as it is when the model says nothing. Raises what else :func:`neutral_replies` raises.
    """
    if not wants_replies(task, source, settings):
        return task
    try:
        return task.keeping(neutral_replies(source, device=device, dtype=dtype, listen=listen))
    except AuditError:
        return task


def ask_replies(
    engine: Engine, requests: Mapping[str, Split], *, max_tokens: int, listen: StepListener = ignore_steps
) -> list[Probe]:
    """The replies to these requests, in their order, without those of fewer than two words."""
    found: dict[str, Probe | None] = {}
    for request, probe in own_replies(engine, requests, max_tokens=max_tokens):
        found[request] = probe
        listen("reading replies", len(found), len(requests))
    return [probe for request in requests if (probe := found[request]) is not None]


def _requests() -> dict[str, Split]:
    """Every built-in request, and the split of the reply to it."""
    search, report = load_requests()
    requests: dict[str, Split] = {request: "control" for request in search}
    return requests | {request: "unseen" for request in report}


def _takes_requests(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a request alone is a chat: some templates want more, such as a system turn or a variable."""
    try:
        render_chat(tokenizer, [{"role": "user", "content": next(iter(_requests()))}])
    except UnsupportedModelError:
        return False
    return True


def _ask(
    source: str | Path,
    max_tokens: int,
    chat_template: str | None,
    device: str,
    dtype: str,
    listen: StepListener,
) -> ProbeSet:
    """The replies of the model, in the order of the requests."""
    engine = open_engine("torch", source, device=device, dtype=dtype)
    choose_chat_template(engine.tokenizer, chat_template)
    if engine.tokenizer.chat_template is None:
        told = missing_template(engine.tokenizer, "give the search a file of neutral text")
        raise UnsupportedModelError(f"{source}: {told}")
    probes = ask_replies(engine, _requests(), max_tokens=max_tokens, listen=listen)
    if not any(probe.split == "control" for probe in probes):
        raise AuditError(
            "the model says nothing to everyday requests; read more, with --max-tokens, or give other text"
        )
    return ProbeSet("replies", probes)


def _cache_file(source: str | Path, max_tokens: int, chat_template: str | None, dtype: str) -> Path | None:
    """Named by the base and by all that is asked of it; None for a model without that template, or without a home.

    The fingerprint is the same whatever patches are on, so the model must have none.
    """
    with open_checkpoint(source) as checkpoint:
        base, tokenizer = fingerprint(checkpoint).hex(), checkpoint.tokenizer()
    template = tokenizer.chat_template if chat_template is None else tokenizer.templates.get(chat_template)
    folder = _cache_folder()
    if template is None or folder is None:
        return None
    asked = blake2b(msgspec.json.encode([template, dtype, _requests()]), digest_size=8)
    return folder / f"{base}-{asked.hexdigest()}-{max_tokens}.jsonl"


def _kept(path: Path | None) -> ProbeSet | None:
    """What is in that file of the cache, if it is sound."""
    try:
        return None if path is None else ProbeSet.load(path)
    except ProbeFormatError:
        return None


def _cache_folder() -> Path | None:
    """The user's folder of replies; None for a user who has neither the variable nor a home."""
    cache, home = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~")
    if not os.path.isabs(cache):
        cache = os.path.join(home, ".cache")
    return Path(cache) / "bankai" / "replies" if os.path.isabs(cache) else None
