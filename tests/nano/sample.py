"""What the witness tests of nano read: a fixed sample of probes and the patch that `bankai demo` found."""

from pathlib import Path

from bankai.probes import Probe, load_probe_set

__all__ = ["PATCH", "RECORDED", "probe_sample"]

FOLDER = Path(__file__).parent
PATCH = FOLDER / "elicitable.bankai"
RECORDED = FOLDER / "llama_logits.npz"


def probe_sample(step: int) -> list[Probe]:
    """Every `step`-th probe that a report may read: held-out and unseen, all categories."""
    found = load_probe_set("elicitable")
    return [*found.split("heldout"), *found.split("unseen")][::step]
