"""Write `docs/evidence.md` from the stored results of the experiments; a test checks that the page is current.

python docs/make_evidence_page.py
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bankai.experiments.registry import EXPERIMENTS, experiment
from bankai.experiments.report import Judged, judged, number, ranged, read_results
from bankai.experiments.values import Claim, Table
from bankai.experiments.verdicts import RULE

PAGE = Path(__file__).with_name("evidence.md")
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "experiments"
HEAD = """\
# Evidence

Written by `make docs` from `benchmarks/results/experiments`; do not edit. Made by

```sh
bankai experiment all --model nano --out evidence    # evidence/report.html has the plots
```

Every published claim, on `nano`, the small model of this repository: **what holds here says nothing about a Bonsai
model** until the same command has run on one (`--model Bonsai-8B.gguf`). The published figures are those of the
announcement of 2 April 2026 and of its corrected record of August 2026, on Bonsai 8B unless said.

"""


def page() -> str:
    """The whole page."""
    results = read_results(RESULTS)
    claims = judged(results)
    parts = [HEAD, RULE, "\n\n", _counted(claims), "\n\n", _about(results), "\n"]
    for name, document in results.items():
        parts.append(f"\n## {name}\n\n{EXPERIMENTS[name]}\n\n")
        own = [one for one in claims if one.experiment == name]
        parts.append(
            _rows(
                ("claim", "published", "measured here", "95 % interval", "holds if", "p", "verdict"),
                map(_claim, own),
            )
        )
        parts += [_table(table) for table in experiment(name).tables(document["result"])]
    return "".join(parts)


def _counted(claims: Sequence[Judged]) -> str:
    counts = Counter(one.verdict for one in claims)
    return (
        f"Of {len(claims)} claims "
        + ", ".join(f"{count}: {verdict}" for verdict, count in counts.most_common())
        + "."
    )


def _about(results: dict[str, dict[str, Any]]) -> str:
    """Where and how long, of the first result; all were made in one run."""
    first = next(iter(results.values()))
    about, asked = first["about"], first["asked"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    minutes = sum(document["seconds"] for document in results.values()) / 60
    return (
        f"*{asked['model']} ({asked['fingerprint']}), seeds {', '.join(map(str, asked['seeds']))}; {about['date']}, "
        f"{about['machine']['cpu']}, {about['machine']['cores']} cores usable, {about['threads']} threads; {versions}; "
        f"commit {about['commit']}; {minutes:.0f} minutes in all.*"
    )


def _claim(one: Judged) -> list[str]:
    claim = one.claim
    p = "" if one.corrected is None else number(one.corrected)
    return [
        claim.what,
        claim.published,
        claim.ours,
        ranged(claim.interval),
        _range(claim),
        p,
        f"**{one.verdict}**",
    ]


def _range(claim: Claim) -> str:
    bounds = (("above", claim.above), ("below", claim.below))
    return ", ".join(f"{word} {number(bound)}" for word, bound in bounds if bound is not None)


def _table(table: Table) -> str:
    note = f"\n{table.note}\n" if table.note else ""
    return f"\n**{table.title}**\n\n{_rows(table.columns, table.rows)}{note}"


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar inside a cell would end it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
