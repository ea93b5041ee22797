"""lm-evaluation-harness on our models: its tasks, prompts and metrics; our log-likelihoods and greedy text.

``tasks/`` beside this file holds tasks of our own, found by name like those of lm-eval. Prompt and continuation are
encoded as one text and split, as with probes; scores and text come from an engine of `bankai.evaluation`. Importing
needs the `[harness]` extra.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM, TemplateLM
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bankai.errors import HarnessError
from bankai.evaluation.engines import TorchEngine
from bankai.library.entries import digest_of
from bankai.model.chat import render_chat
from bankai.model.loader import load
from bankai.model.patching import ModelMatrices, patched
from bankai.model.tokenizer import choose_chat_template, end_tokens
from bankai.patch import read_patch
from bankai.patch.binding import content_digest
from bankai.patch.files import read_patch_bytes
from bankai.probes.encode import EncodedAnswer
from bankai.steps import StepListener, ignore_steps

__all__ = ["BankaiLM", "HarnessReport", "bits_digest", "run_harness"]

MAX_TOKENS = 256  # of a reply when the task does not say
SEED = 1234  # of the choice of examples before a question, lm-eval's own
RESAMPLES = 1000  # of the bootstrap behind standard errors that have no formula
_LONGEST_REASON = 300


class BankaiLM(TemplateLM):
    """A loaded model, with whatever patch is on it, as lm-eval wants it. Greedy only.

    `name` stands in results and caches. Texts too long for the context lose their beginning, as with lm-eval's own
    models.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        listen: StepListener = ignore_steps,
    ) -> None:
        super().__init__()
        self.tokenizer, self.name, self.listen = tokenizer, name, listen
        self._engine = TorchEngine(model, tokenizer)
        self.max_length: int = self._engine.context

    @property
    def eot_token_id(self) -> int:
        """The end that the model names, else the first that it has. Raises HarnessError for none."""
        ends, eos = end_tokens(self.tokenizer), self.tokenizer.eos_token_id
        if eos is None and not ends:
            raise HarnessError(
                "the model names no token that ends a text; take tasks whose prompts are not empty"
            )
        return min(ends) if eos is None else eos

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that has nothing before it."""
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else begin

    @property
    def tokenizer_name(self) -> str:
        """Names tokenizer and chat template with its variables in caches of requests."""
        chosen = self.tokenizer.chat_template or ""
        if variables := getattr(self.tokenizer, "chat_template_kwargs", {}):
            chosen += json.dumps(variables, sort_keys=True)
        template = hashlib.blake2b(chosen.encode(), digest_size=8)
        return f"{self.name}-{template.hexdigest()}".replace("/", "__")

    def get_model_info(self) -> dict[str, str]:
        """For lm-eval's own report."""
        return {"bankai_model": self.name}

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The chat up to where the model's turn begins, or continues where the last message is the model's own.

        Raises UnsupportedModelError when the template fails.
        """
        if add_generation_prompt:
            return render_chat(self.tokenizer, chat_history)
        return render_chat(self.tokenizer, chat_history[:-1]) + chat_history[-1]["content"]

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; text that brings its special tokens, as a rendered chat does, gets no others."""
        add = self._adds(string) if add_special_tokens is None else add_special_tokens
        return self.tokenizer(string, add_special_tokens=add)["input_ids"]

    def _adds(self, string: str) -> bool:
        begin = self.tokenizer.bos_token
        return not (begin and string.startswith(begin))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Encoded as one text, then split at the first token that reaches past the context, as probes are.

        lm-eval moves blanks at the end of the context to the continuation; here only those that share a token with it
        count there, so that a chat template's last newline is not scored.
        """
        text, add = context + continuation, self._adds(context)
        encoded = self.tokenizer(text, add_special_tokens=add, return_offsets_mapping=True)
        ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
        start = next((index for index, end in enumerate(ends) if end > len(context)), len(ids))
        return ids[:start], ids[start:]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-probability, whether greedy decoding emits it) of each (context, continuation)."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """The same of each (key, context, continuation)."""
        found = [(0.0, True)] * len(requests)  # what holds for no tokens at all
        places = [index for index, (_, _, continuation) in enumerate(requests) if continuation]
        answers = [self._answer(*requests[index][1:]) for index in places]
        for done, (place, trace) in enumerate(self._engine.traces(answers), start=1):
            index = places[place]
            found[index] = (trace.score, trace.solved)
            if requests[index][0] is not None:
                self.cache_hook.add_partial("loglikelihood", requests[index][0], found[index])
            self.listen("log-likelihoods", done, len(places))
        return found

    def _answer(self, context: list[int], continuation: list[int]) -> EncodedAnswer:
        if len(continuation) > self.max_length:
            raise HarnessError(
                f"a continuation has {len(continuation)} tokens, more than the model's context of {self.max_length}; "
                "leave the task out"
            )
        ids = [*(context or [self.prefix_token_id]), *continuation][-self.max_length - 1 :]
        return EncodedAnswer(tuple(ids), len(ids) - len(continuation))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each text, every token once, in windows as wide as the context."""
        windows, owners = [], []
        for owner, request in enumerate(requests):
            pieces = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
            )
            for context, continuation in map(make_disjoint_window, pieces):
                windows.append((None, context, continuation))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (log_prob, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += log_prob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy text up to the first stop, the end of the turn or the task's number of tokens.

        Raises HarnessError for a task that samples, or that wants more tokens than the context has.
        """
        groups: dict[tuple[tuple[str, ...], int], list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[self._limits(request.args[1])].append(index)
        texts, done = [""] * len(requests), 0
        for (stops, most), members in groups.items():
            room = self.max_length - most
            contexts = [self.tok_encode(requests[index].args[0])[-room:] for index in members]
            contexts = [context or [self.prefix_token_id] for context in contexts]
            for place, reply in self._engine.replies(contexts, [stops] * len(members), most):
                index, done = members[place], done + 1
                texts[index] = reply.text
                self.cache_hook.add_partial("generate_until", requests[index].args, reply.text)
                self.listen("replies", done, len(requests))
        return texts

    def _limits(self, settings: dict[str, Any]) -> tuple[tuple[str, ...], int]:
        """Stops and the most tokens."""
        wanted = normalize_gen_kwargs(settings, MAX_TOKENS)
        if wanted["do_sample"]:
            raise HarnessError("this task samples its replies; only greedy ones are given here, leave it out")
        most = wanted["max_gen_toks"]
        if not 0 < most < self.max_length:
            raise HarnessError(
                f"the task wants replies of {most} tokens, the model's context has {self.max_length}; leave it out"
            )
        return tuple(stop for stop in wanted["until"] if stop), most


@dataclass(frozen=True, slots=True)
class HarnessReport:
    """What lm-eval found, and on what.

    `bits`: digest of the bits that computed, the patch's included; `patch_digest`: that of the patch file, as in a
    library. `results`: by task, "metric,filter" to its value. `samples`: by task, questions asked. `lm_eval`: version.
    """

    model: str
    bits: str
    patch: str | None
    patch_digest: str | None
    dtype: str
    chat: bool
    limit: int | None
    results: dict[str, dict[str, float]]
    samples: dict[str, int]
    shots: dict[str, int]
    versions: dict[str, Any]
    lm_eval: str


def run_harness(
    source: str | Path,
    tasks: Iterable[str],
    patch: str | Path | None = None,
    *,
    limit: int | None = None,
    include_path: str | Path | None = None,
    chat: bool | None = None,
    chat_template: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    cache: str | Path | None = None,
    unbound: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    listen: StepListener = ignore_steps,
) -> HarnessReport:
    """Run tasks of lm-eval on a model file, with a patch on where one is given; the file is not changed.

    `include_path`: a folder of more tasks. `chat`: use the model's chat template; None as the tasks ask for by
    ``metadata: {chat_template: true}``. `chat_template`: its name, None for the default, and `chat_template_kwargs`:
    its variables. `cache`: a folder for answers, kept per bits, patch and dtype. Raises HarnessError, and what
    loading a model and putting a patch on raises.
    """
    loaded_tasks = _load_tasks(list(tasks), include_path)
    change = None if patch is None else read_patch(Path(patch))
    patch_digest = None if patch is None else digest_of(read_patch_bytes(patch)).hex()
    model, tokenizer = load(source, device=device, dtype=dtype)
    choose_chat_template(tokenizer, chat_template, chat_template_kwargs)
    chat = _asks_for_chat(loaded_tasks) if chat is None else chat
    if chat and not tokenizer.chat_template:
        raise HarnessError(
            "these tasks want a chat template and the model has none; pass chat=False (--no-chat)"
        )
    with patched(model, change, unbound=unbound) if change else nullcontext():
        bits = bits_digest(model)
        lm: Any = BankaiLM(model, tokenizer, Path(source).name, listen)
        if cache is not None:
            key = "-".join([bits, patch_digest or "base", dtype])
            lm = CachingLM(lm, str(Path(cache) / f"{key}.db"))
        found = evaluate(
            lm,
            loaded_tasks,
            limit=limit,
            bootstrap_iters=RESAMPLES,
            log_samples=False,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    return HarnessReport(
        model=Path(source).name,
        bits=bits,
        patch=None if patch is None else str(patch),
        patch_digest=patch_digest,
        dtype=dtype,
        chat=chat,
        limit=limit,
        results={name: _numbers(metrics) for name, metrics in found["results"].items()},
        samples={name: counts["effective"] for name, counts in found["n-samples"].items()},
        shots=found["n-shot"],
        versions=found["versions"],
        lm_eval=version("lm_eval"),
    )


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics and standard errors, without names and errors that lm-eval has no formula for."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def bits_digest(model: PreTrainedModel) -> str:
    """What tells the weights of a loaded model from those under a patch, in hex."""
    return content_digest(ModelMatrices(model)).hex()


def _load_tasks(names: list[str], include_path: str | Path | None) -> Any:
    """Tasks as lm-eval's evaluator takes them. lm-eval's own 14,000 take seconds to list, so they come last."""
    folders = [resources.files("bankai.evaluation") / "tasks", *([include_path] if include_path else [])]
    if include_path and not Path(include_path).is_dir():
        raise HarnessError(f"{include_path} is no folder; give one that holds task files")
    manager = TaskManager(include_path=[str(folder) for folder in folders], include_defaults=False)
    if not set(names) <= set(manager.all_tasks):
        manager = TaskManager(include_path=[str(folder) for folder in folders])
    unknown = [name for name in names if name not in manager.task_index]
    if unknown or not names:
        raise HarnessError(
            f"no task {', '.join(unknown) or 'given'}; `lm_eval ls tasks` lists them, --include-path adds a folder"
        )
    try:
        loaded = manager.load(names)
    except (
        Exception
    ) as error:  # a task is a program from elsewhere, and reads its data here: it can raise anything
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        raise HarnessError(
            f"{', '.join(names)} cannot be loaded ({reason}); check its file and that its data can be reached, "
            "or set HF_HUB_OFFLINE=1 to use only data fetched before, without waiting for the network"
        ) from error
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            raise HarnessError(f"{name} runs what the model writes, or shows it more than text; leave it out")
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=SEED)
    return loaded


def _asks_for_chat(loaded: Any) -> bool:
    """Whether the tasks want the chat template. Raises HarnessError when some do and some do not."""
    wishes = {
        name: bool((task.get_config("metadata") or {}).get("chat_template"))
        for name, task in loaded["tasks"].items()
    }
    if len(set(wishes.values())) > 1:
        wanting = ", ".join(name for name, wish in wishes.items() if wish)
        raise HarnessError(
            f"only {wanting} wants the chat template; run the others apart, or decide with --chat"
        )
    return any(wishes.values())
