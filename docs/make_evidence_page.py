"""Write `docs/evidence.md`, `docs/chat-evidence.md` and its plots from the stored results of the experiments.

A test checks that all of them are current.

python docs/make_evidence_page.py
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bankai.experiments.registry import CHAT, EXPERIMENTS, experiment
from bankai.experiments.report import Judged, draw, judged, number, ranged, read_results
from bankai.experiments.values import Claim, Plot, Table
from bankai.experiments.verdicts import RULE

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
NANO = """\
# Evidence

Written by `make docs` from `benchmarks/results/experiments`; do not edit. Made by

```sh
bankai experiment all --model nano --out evidence    # evidence/report.html has the plots
```

Every published claim, on `nano`, the small model of this repository: **what holds here says nothing about a Bonsai
model** until the same command has run on one (`--model Bonsai-8B.gguf`). The published figures are those of the
announcement of 2 April 2026 and of its corrected record of August 2026, on Bonsai 8B unless said.

"""
SMOL = """\
# Evidence on a chat model

Written by `make docs` from `benchmarks/results/chat`; do not edit. Made by

```sh
bankai experiment run chat-elicitation chat-engine --model "$(scripts/smollm2.sh python)" --out evidence
```

The model is SmolLM2-135M-Instruct as llama.cpp packs it (Q4_1), computed in float32 where nothing else is said. It is
asked for short answers in its own chat template, and most often gives a sentence instead. A failure is *known* when
the model says the answer in its own longer reply, or right after three solved examples. A patch is a set of rows of
MLP and attention that are negated; all ways of changing the model had the same targets, objective and neutral text.

"""


@dataclass(frozen=True)
class Page:
    """A page of the docs, with the results it is made of; `plots` for those that go into it."""

    path: Path
    results: Path
    head: str
    purposes: Mapping[str, str]
    plots: bool = False

    def written(self) -> dict[Path, str]:
        """The files of the page, and what is in each; none before there are results."""
        results = read_results(self.results)
        if not results:
            return {}
        claims = judged(results)
        parts = [self.head, RULE, "\n\n", _counted(claims), "\n\n", _about(results), "\n"]
        files = {}
        for name, document in results.items():
            parts.append(f"\n## {name}\n\n{self.purposes[name]}\n\n")
            parts.append(_claims([one for one in claims if one.experiment == name]))
            found = experiment(name)
            parts += [_table(table) for table in found.tables(document["result"])]
            for at, plot in enumerate(found.plots(document["result"]) if self.plots else ()):
                path = DOCS / "img" / f"{name}-{at}.svg"
                files[path] = draw(plot).decode()
                parts.append(_image(plot, path))
        return {self.path: "".join(parts), **files}


PAGES = (
    Page(DOCS / "evidence.md", RESULTS / "experiments", NANO, EXPERIMENTS),
    Page(DOCS / "chat-evidence.md", RESULTS / "chat", SMOL, CHAT, plots=True),
)


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


def _claims(claims: Iterable[Judged]) -> str:
    columns = ("claim", "published", "measured here", "95 % interval", "holds if", "p", "verdict")
    return _rows(columns, map(_claim, claims))


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


def _image(plot: Plot, path: Path) -> str:
    return f"\n![{plot.title}]({path.relative_to(DOCS).as_posix()})\n"


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; a bar inside a cell would end it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    for page in PAGES:
        for path, text in page.written().items():
            path.write_text(text, encoding="utf-8")
