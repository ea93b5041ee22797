"""What is wrong with a probe set for a model."""

from pathlib import Path

from bankai.evaluation.audit import Finding, audit
from bankai.model import load
from bankai.probes import load_probe_set

__all__ = ["audit_file"]


def audit_file(source: str | Path, probe_set: str | Path) -> list[Finding]:
    """The findings of an audit. Raises what reading either raises."""
    probes = load_probe_set(probe_set)
    return audit(*load(source), probes)
