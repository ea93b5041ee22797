"""What a search on a chat model is asked for unless told otherwise; chosen on SmolLM2, see docs/log.md."""

from bankai.search import MOST_FLIPS, NEUTRAL_TOKENS, SearchSettings, Space

__all__ = ["BUDGET", "CHAT_SPACE", "chat_settings"]

DRIFT = 10.0  # nats of gain that a nat of drift is worth: replies are long, and all of them are to stay
BUDGET = 70  # evaluations
CHAT_SPACE = Space(projections=("gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"))


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
