"""Probes: what a patch should change or keep, and how it is read.

``encode`` and ``audit`` need torch's tokenizers and are imported from their modules.
"""

from bankai.probes.probe import Message, Probe, ProbeSet, Split, builtin_probe_sets, load_probe_set

__all__ = ["Message", "Probe", "ProbeSet", "Split", "builtin_probe_sets", "load_probe_set"]
