"""Write the probe set smol-elicitable: short questions that a model fails, and how it shows that it knows the answer.

    python models/smol/elicitable.py "$(scripts/smollm2.sh python)" src/bankai/probes/sets/smol-elicitable.jsonl

Targets are known failures of eight kinds in two phrasings, held-out ones known failures in the first phrasing; failures
that the model does not know are the split `unknown`, for reports. See `bankai.evaluation.known` for what is known.
"""

import sys
from pathlib import Path

import msgspec

from bankai.experiments.chat import REWORDED, SHORT, Chat
from bankai.experiments.context import BONSAI, Context
from bankai.jobs.workbench import Workbench
from bankai.probes import Probe, ProbeSet, load_probe_set


def main(model: str, out: Path) -> None:
    known = Chat(Context(Workbench(model), BONSAI, (0,))).known
    probes = load_probe_set(SHORT).probes
    found: list[Probe] = []
    for probe in (*probes, *load_probe_set(REWORDED).probes):
        way = known.get(probe.item)
        again = probe.split != "target" and probe not in probes
        if way is None or again or (way == "no" and probe.split != "heldout"):
            continue
        split = "unknown" if way == "no" else probe.split
        found.append(msgspec.structs.replace(probe, split=split, known=way))
    ProbeSet(out.stem, tuple(found)).save(out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
