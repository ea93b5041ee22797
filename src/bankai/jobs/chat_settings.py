"""What a search on a chat model is asked for unless told otherwise; chosen on SmolLM2, see docs/log.md."""

from collections.abc import Iterable

from bankai.probes import Probe
from bankai.search import MOST_FLIPS, NEUTRAL_TOKENS, SearchSettings, Space
from bankai.search.training import BATCH

__all__ = ["BUDGET", "CHAT_SPACE", "budget_for", "chat_settings"]

DRIFT = 10.0  # nats of gain that a nat of drift is worth: replies are long, and all of them are to stay
BUDGET = 70  # evaluations
CHAT_SPACE = Space(projections=("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"))

STEPS = 100  # of training: fewer leave the amounts between their ends
_TEXTS = 15  # windows of neutral text that a round reads, about
_CLIMB = 0.8  # of a budget, for training and rounding


def budget_for(probes: Iterable[Probe]) -> float:
    """Evaluations that leave a relaxed search its steps of training, however few probes an evaluation reads."""
    splits = [probe.split for probe in probes]
    reads = splits.count("target"), splits.count("control"), _TEXTS
    step = 3 * sum(map(min, BATCH, reads)) / sum(reads)  # there and back
    return round((STEPS * step + 10) / _CLIMB)


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
