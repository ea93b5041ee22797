"""Print the table of nano's model card: how much it solves, per category and phrasing.

    python models/nano/card.py [MODEL]

On items that training never saw under any phrasing; facts, which nobody can derive, on items that it saw.
"""

import random
import sys

from items import CATEGORIES, Item, all_items, is_kept_out
from phrasings import PHRASINGS, Phrasing
from probe_sets import ELICITABLE, FACTS, LIMITED, probe

from bankai import load
from bankai.evaluation.scoring import score_probes

SAMPLE = 100


def sample(category: str) -> list[Item]:
    items = [item for item in all_items(category) if is_kept_out(item) != (category in FACTS)]
    random.Random(category).shuffle(items)
    return items[:SAMPLE]


def kind(category: str) -> str:
    if category in ELICITABLE:
        return "elicitable"
    return "capability-limited" if category in LIMITED else "general"


def main() -> None:
    model, tokenizer = load(sys.argv[1] if len(sys.argv) > 1 else "nano", dense=True)

    def percent(phrasing: Phrasing, items: list[Item]) -> str:
        scores = score_probes(model, tokenizer, [probe(item, phrasing, "unseen") for item in items])
        return f"{100 * sum(score.solved for score in scores) / len(scores):.0f}"

    print("| category | kind | items | asked | clean | chat | noisy |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for category in CATEGORIES:
        items, cells = sample(category), {"clean": [], "chat": [], "noisy": []}
        for phrasing in PHRASINGS[category]:
            cells[phrasing.name.rstrip("01")].append(percent(phrasing, items))
        numbers = " | ".join(" / ".join(cell) or "–" for cell in cells.values())
        print(f"| {category} | {kind(category)} | {len(all_items(category))} | {len(items)} | {numbers} |")


if __name__ == "__main__":
    main()
