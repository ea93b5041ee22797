"""The demo on a real chat model: a patch that makes it answer short questions with the bare word."""

from pathlib import Path

from bankai.jobs.chat_settings import BUDGET, chat_settings
from bankai.jobs.demo import Example, examples_of
from bankai.jobs.patch_files import check_output
from bankai.jobs.search import Listener, SearchResult, ignore, result_of, searched
from bankai.jobs.task import Task
from bankai.jobs.workbench import Workbench
from bankai.probes import ProbeSet, load_probe_set

__all__ = ["BUDGET", "ChatDemoResult", "run_chat_demo"]

ELICITABLE = "smol-elicitable"
PROBES = 160  # of the targets: about so many items, in two phrasings
FLIPS = 100


class ChatDemoResult(SearchResult, frozen=True, kw_only=True):
    """The result of the search, and what base and patched model say to some held-out questions."""

    model: str
    seed: int
    examples: list[Example]


def run_chat_demo(
    source: str | Path,
    out: Path,
    replies: ProbeSet,
    *,
    seed: int = 0,
    budget: float = BUDGET,
    listen: Listener = ignore,
) -> ChatDemoResult:
    """Find a patch for short questions whose answers SmolLM2 knows, write it to `out`, and measure what it did.

    `replies` are its own, see `bankai.jobs.replies`. The seed draws the targets. Raises what a search of a file does,
    see `bankai.jobs.search.search_file`.
    """
    check_output(out)
    task = Task.of([load_probe_set(ELICITABLE)]).keeping(replies)
    task = task.drawn(PROBES, 0, seed)
    bench = Workbench(source)
    settings = chat_settings(seed, budget, flips=FLIPS)
    result, patch = result_of(bench, task, settings, searched(bench, task, settings, listen), out)
    found = {name: getattr(result, name) for name in result.__struct_fields__}
    examples = examples_of(bench, patch, task.whole.split("heldout"))
    return ChatDemoResult(**found, model=bench.name, seed=seed, examples=examples)
