"""Probes: what a patch should change or keep, and how it is read.

``encode`` needs the tokenizers of transformers and is imported from its module.
"""

from bankai.probes.neutral import builtin_neutral_texts, load_neutral_texts
from bankai.probes.probe import Known, Message, Probe, ProbeSet, Split, builtin_probe_sets, load_probe_set
from bankai.probes.questions import Question, builtin_question_sets, load_questions
from bankai.probes.requests import Requests, load_requests

__all__ = [
    "Known",
    "Message",
    "Probe",
    "ProbeSet",
    "Question",
    "Requests",
    "Split",
    "builtin_neutral_texts",
    "builtin_probe_sets",
    "builtin_question_sets",
    "load_neutral_texts",
    "load_probe_set",
    "load_questions",
    "load_requests",
]
