"""A batch of 16 texts that each have a patch of their own, beside the same batch without any, token by token.

On `nano` and on a random model in the shape of Bonsai 1.7B; patches of 93 random rows of the projections, and of 93
groups. Beside it PEFT on `nano`: the same patches as 16 LoRA adapters in one mixed batch (`adapter_names`), against the
plain transformers model. Timed are the steps after the prompts; all sides take each step in turn, with the same tokens.
"""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bankai.checkpoint.lora import write_peft
from bankai.checkpoint.model_file import open_checkpoint
from bankai.jobs.workbench import Workbench
from bankai.model import Linear, load
from bankai.patch import Flip, Patch
from bankai.serving.engine import Generation
from bankai.serving.engines.torch_engine import TorchEngine
from benchmarks.big import synthetic
from benchmarks.measure import ranged, seconds, summary
from benchmarks.outcomes import table_of, verdict

__all__ = ["BARS", "random_flips", "run", "table"]

TEXTS, FLIPS, PROMPT = 16, 93, 32
BARS = {"nano": 15.0, "bonsai-1.7b": 5.0}  # percent
NONE, ROWS, GROUPS = "no patch", "16 patches of rows", "16 patches of groups"
PLAIN, ADAPTERS = "transformers, no adapter", "PEFT, 16 adapters of the rows"
BASE = {ROWS: NONE, GROUPS: NONE, ADAPTERS: PLAIN}
Side = Callable[[Sequence[int]], Tensor]
"""Takes the next token of each text, gives their logits: [texts, vocabulary]."""


def run(quick: bool) -> dict[str, Any]:
    sizes = {"nano": (2, 3), "tiny": (2, 2)} if quick else {"nano": (15, 20), "bonsai-1.7b": (5, 5)}
    with tempfile.TemporaryDirectory() as folder:
        shapes = {shape: _shape(shape, Path(folder), *size) for shape, size in sizes.items()}
    return {"texts": TEXTS, "flips": FLIPS, "prompt": PROMPT, "shapes": shapes}


def _shape(shape: str, folder: Path, repeats: int, steps: int) -> dict[str, Any]:
    source = shape if shape == "nano" else str(synthetic(shape, folder))
    model = Workbench(source).model
    patches = {NONE: [Patch()] * TEXTS}
    for name, partial in ((ROWS, False), (GROUPS, True)):
        patches[name] = [Patch(random_flips(model, partial, seed)) for seed in range(TEXTS)]
    sides = {name: _ours(model, of_side) for name, of_side in patches.items()}
    if shape == "nano":
        sides |= {PLAIN: _theirs(_unpacked(source)), ADAPTERS: _adapted(source, folder, patches[ROWS])}
    print(f"  {shape}: all prompts are read", flush=True)
    times, difference = _in_turn(sides, model.config.vocab_size, repeats, steps)
    more = {
        name: [100 * (ratio - 1) for ratio in _ratios(times, name, BASE[name])]
        for name in BASE
        if name in sides
    }
    peft = (
        {"ratio": summary(_ratios(times, ADAPTERS, ROWS)), "difference": difference}
        if ADAPTERS in sides
        else None
    )
    return {
        "repeats": repeats,
        "steps": steps,
        "milliseconds": {
            name: summary([1e3 * median(part) for part in parts]) for name, parts in times.items()
        },
        "more": {name: summary(values) for name, values in more.items()},
        "peft": peft,
    }


def random_flips(model: PreTrainedModel, partial: bool, seed: int) -> frozenset[Flip]:
    """So many rows, or groups of rows, of any projection."""
    rng, flips = random.Random(seed), set()
    layers = [
        (name, (module.matrix.info.rows, module.matrix.info.groups))
        for name, module in model.named_modules()
        if isinstance(module, Linear) and name != "lm_head"
    ]
    while len(flips) < FLIPS:
        name, (rows, groups) = rng.choice(layers)
        flips.add(Flip(name, rng.randrange(rows), rng.randrange(groups) if partial else None))
    return frozenset(flips)


def _prompts(vocabulary: int) -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(vocabulary) for _ in range(PROMPT)] for _ in range(TEXTS)]


def _ours(model: PreTrainedModel, patches: Sequence[Patch]) -> Side:
    engine, prompts = TorchEngine(model, places=TEXTS), _prompts(model.config.vocab_size)
    texts = [
        Generation(tuple(prompt), patch, str(at))
        for at, (prompt, patch) in enumerate(zip(prompts, patches, strict=True))
    ]
    for text in texts:
        engine.add(text)
    while len(engine.step()) < TEXTS:
        pass

    def step(tokens: Sequence[int]) -> Tensor:
        for text, token in zip(texts, tokens, strict=True):
            text.tokens.append(token)
        found = dict(engine.step())
        return torch.stack([torch.from_numpy(found[text]) for text in texts])

    return step


def _unpacked(source: str) -> PreTrainedModel:
    """With the plain linear layers that PEFT takes."""
    model = load(source, dense=True)[0]
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear):
            linear = nn.Linear(module.in_features, module.out_features, bias=False)
            linear.weight = nn.Parameter(module.weight, requires_grad=False)
            model.set_submodule(name, linear)
    return model


def _adapted(source: str, folder: Path, patches: Sequence[Patch]) -> Side:
    from peft import PeftModel

    names = [f"adapter{at}" for at in range(TEXTS)]
    with open_checkpoint(source) as checkpoint:
        for name, patch in zip(names, patches, strict=True):
            write_peft(folder / name, checkpoint, patch.flips)
    model = PeftModel.from_pretrained(_unpacked(source), str(folder / names[0]), adapter_name=names[0])
    for name in names[1:]:
        model.load_adapter(str(folder / name), adapter_name=name)
    return _theirs(model.eval(), {"adapter_names": names})


def _theirs(model: Any, more: Mapping[str, Any] | None = None) -> Side:
    """The model's own forward with its own cache."""
    cache: Any = None

    @torch.no_grad()
    def step(tokens: Any) -> Tensor:
        nonlocal cache
        ids = torch.tensor(tokens).view(TEXTS, -1)
        found = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **(more or {}))
        cache = found.past_key_values
        return found.logits[:, -1]

    step(_prompts(model.config.vocab_size))
    return step


def _in_turn(
    sides: Mapping[str, Side], vocabulary: int, repeats: int, steps: int
) -> tuple[dict[str, list[list[float]]], float]:
    """Seconds of every step of every repeat, and how far PEFT's logits are from ours."""
    rng, difference = random.Random(1), 0.0
    found: dict[str, list[list[float]]] = {name: [[] for _ in range(repeats)] for name in sides}
    for number in range(-1, repeats * steps):  # the first is not counted
        tokens = [rng.randrange(vocabulary) for _ in range(TEXTS)]
        logits = {}
        for name in sorted(sides, reverse=bool(number % 2)):
            logits[name], took = seconds(lambda side=sides[name], tokens=tokens: side(tokens))
            if number >= 0:
                found[name][number // steps].append(took)
        apart = logits.get(ADAPTERS, logits[ROWS]) - logits[ROWS]
        difference = max(difference, float(apart.abs().max()))
    return found, difference


def _ratios(times: Mapping[str, Sequence[Sequence[float]]], name: str, base: str) -> list[float]:
    """Step by step, for steps in turn share what else the machine does; the median of each repeat."""
    repeats = zip(times[name], times[base], strict=True)
    return [median(one / other for one, other in zip(*steps, strict=True)) for steps in repeats]


def table(result: dict[str, Any]) -> str:
    shapes = result["shapes"]
    sizes = "; ".join(
        f"{name}: {one['repeats']} repeats of {one['steps']} tokens" for name, one in shapes.items()
    )
    rows = [
        [shape, name, ranged(took, 2), ranged(found["more"][name], 1) if name in BASE else ""]
        for shape, found in shapes.items()
        for name, took in found["milliseconds"].items()
    ]
    verdicts = [
        verdict(f"Patches of rows on {shape} cost", found["more"][ROWS]["median"], BARS[shape], most=True)
        for shape, found in shapes.items()
        if shape in BARS
    ]
    peft = shapes["nano"]["peft"]
    return "\n".join(
        [
            f"{result['texts']} texts, prompts of {result['prompt']} tokens, {result['flips']} flips in each patch. "
            f"{sizes}; medians, with ranges.",
            "",
            table_of(("model", "batch", "ms per token of every text", "more than without, %"), rows),
            "",
            f"For the same rows PEFT takes {ranged(peft['ratio'], 1)} times as long as our engine; logits differ by at "
            f"most {peft['difference']:.0e}.",
            "",
            " ".join(verdicts),
        ]
    )
