"""What else could change a model's answers, beside a patch: LoRA, steering, scales, norms, examples in the prompt.

Each is made from what a search may read, goes on a loaded model inside a ``with`` block, is exactly undone after it,
and is measured in one shape (:func:`measure`). Needs the `[search]` extra.
"""

from bankai.baselines.baseline import Baseline, Outcome, PatchBaseline, measure
from bankai.baselines.compare import BASELINES, compare_baselines
from bankai.baselines.few_shot import FewShot, choose_examples
from bankai.baselines.gains import RowGains, train_gains
from bankai.baselines.lora import Lora, train_lora
from bankai.baselines.norms import NormEdit, train_norms
from bankai.baselines.scales import ScaleEdit, train_scales
from bankai.baselines.steering import Steering, find_steering

__all__ = [
    "BASELINES",
    "Baseline",
    "FewShot",
    "Lora",
    "NormEdit",
    "Outcome",
    "PatchBaseline",
    "RowGains",
    "ScaleEdit",
    "Steering",
    "choose_examples",
    "compare_baselines",
    "find_steering",
    "measure",
    "train_gains",
    "train_lora",
    "train_norms",
    "train_scales",
]
