"""Solved examples before a question: a plain prompt is given plain ones, a chat is given earlier turns."""

from collections.abc import Iterable
from itertools import filterfalse, takewhile

import msgspec

from bankai.probes.probe import Message, Probe

__all__ = ["right_text", "with_examples"]


def right_text(probe: Probe) -> str:
    """A whole right reply: the prefix and the first answer."""
    return f"{probe.prefix}{probe.answers[0]}"


def with_examples(probe: Probe, examples: Iterable[Probe]) -> Probe:
    """The probe, asked after examples that are answered right; those of the other form, plain or chat, are left out."""
    if probe.messages is None:
        shown = "".join(f"{one.prompt}{right_text(one)}{one.stop}" for one in examples if one.prompt)
        return msgspec.structs.replace(probe, prompt=f"{shown}{probe.prompt}")
    system = tuple(takewhile(_of_system, probe.messages))
    turns = [
        message
        for one in examples
        if one.messages
        for message in (*filterfalse(_of_system, one.messages), Message("assistant", right_text(one)))
    ]
    return msgspec.structs.replace(probe, messages=(*system, *turns, *probe.messages[len(system) :]))


def _of_system(message: Message) -> bool:
    """The question's own stand at the beginning; those of examples are left out, as templates take one."""
    return message.role == "system"
