"""What a search on a chat model is asked for unless told otherwise; chosen on SmolLM2, see docs/log.md."""

from collections.abc import Iterable

import msgspec

from bankai.probes import Probe
from bankai.search import MOST_FLIPS, NEUTRAL_TOKENS, SearchSettings, Space
from bankai.search.training import BATCH

__all__ = ["BUDGET", "CHAT_SPACE", "chat_settings", "settings_for"]

DRIFT = 10.0  # nats of gain that a nat of drift is worth: replies are long, and all of them are to stay
BUDGET = 70  # evaluations
CHAT_SPACE = Space(projections=("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"))

STEPS = 100  # of training: fewer leave the amounts between their ends
_TEXTS = 15  # windows of neutral text that a round reads, about
_TRAINING_SHARE = 0.8  # of a budget, for training and rounding
_DRIFT_WEIGHT = 30.0  # weight of the drift where nobody has said how much may be lost
_LEAST_FLIPS, _FLIPS_A_TARGET = 32, 1.28  # more of them fit the targets and nothing else


def settings_for(probes: Iterable[Probe], seed: int) -> SearchSettings:
    """Those of a relaxed search on chats that suit the number of its targets.

    The budget leaves training its steps, however few probes an evaluation reads.
    """
    splits = [probe.split for probe in probes]
    targets, controls = splits.count("target"), splits.count("control")
    reads = targets, controls, _TEXTS
    step = 3 * sum(map(min, BATCH, reads)) / sum(reads)  # there and back
    budget = round((STEPS * step + 10) / _TRAINING_SHARE)
    flips = min(MOST_FLIPS, max(_LEAST_FLIPS, round(_FLIPS_A_TARGET * targets)))
    return msgspec.structs.replace(chat_settings(seed, budget, flips=flips), drift=_DRIFT_WEIGHT)


def chat_settings(
    seed: int, budget: float, *, flips: int = MOST_FLIPS, space: Space = CHAT_SPACE
) -> SearchSettings:
    """Those of a relaxed search on chats, of rows of MLP and attention unless another space is given."""
    return SearchSettings(
        strategy="relaxed",
        budget=budget,
        seed=seed,
        drift=DRIFT,
        flips=flips,
        neutral=NEUTRAL_TOKENS,
        space=space,
    )
