"""Which experiments there are, and where each lives. Imports none of them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bankai.experiments.values import Experiment

__all__ = ["CHAT", "EXPERIMENTS", "PURPOSES", "experiment"]

EXPERIMENTS = {
    "random-flips": "What random flips of single bits do to perplexity: number and strategy.",
    "impact-map": "What a whole flipped layer does, to many kinds of problems and to calculus.",
    "rows": "Rows chosen by scale, by gradient and by chance, flipped together.",
    "arithmetic-patch": "A patch from six arithmetic problems: its targets, its controls, new problems.",
    "calculus-patch": "A patch from six calculus problems, and whether it only memorizes them.",
    "generalization": "How many training probes it takes until a patch holds on new ones.",
    "stacking": "Two patches at once: order, interference, and one joint search beside them.",
    "general-ability": "What a patch does to word problems, other skills and running text.",
    "nulls": "What chance does: matched random flips and searches for shuffled answers.",
    "places": "Where flips may be: attention, groups, bits, few layers or all.",
    "token-gap": "The published metric, a gap between two tokens, beside whole answers.",
    "objectives": "What a search is asked for: full answers or margins, and the weight of controls.",
    "pruning": "How many flips carry the effect of a patch.",
    "cost": "What a patch costs: its share of the weights, a thousand in a library, the search.",
    "baselines": "A patch beside LoRA, steering, edited scales and examples in the prompt.",
}
"""Name and purpose, in the order of the report; the module has the same name with underscores."""


CHAT = {
    "chat-elicitation": "A chat model: what a patch elicits and what it costs, beside LoRA and chance.",
    "chat-targets": "A chat model: how many failures a patch must be found from.",
    "chat-places": "A chat model: more flips than a small patch has, groups, and MLP or attention alone.",
    "chat-engine": "A chat model: what a patched copy of its file says in stock llama.cpp.",
}
"""The same of experiments on chat models, with the smol suite."""

PURPOSES = EXPERIMENTS | CHAT


def experiment(name: str) -> "Experiment":
    """The experiment of that name."""
    found: Experiment = import_module(f"bankai.experiments.{name.replace('-', '_')}").EXPERIMENT
    return found
