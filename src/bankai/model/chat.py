"""Messages in the chat template of a model: a program from a stranger, run where it can do no harm.

Contract: the template runs in jinja's sandbox, in a process of its own with little time and memory (`chat_process`), so
that neither a loop without end nor a text without end reaches this one. The process is started for the first chat and
lives as long as this one; it is started again when a template got it killed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock, Timer
from types import MappingProxyType
from typing import Any

from transformers import PreTrainedTokenizerBase

from bankai.errors import UnsupportedModelError

__all__ = ["RESERVED", "render_chat"]

RESERVED = frozenset(
    (
        *("conversations", "messages", "chat_template", "add_generation_prompt", "continue_final_message"),
        *("tools", "documents", "return_assistant_tokens_mask"),
    )
)
"""Variables of every chat template that nobody may set: the chat is in them, or what is done with it."""

_PROCESS = Path(__file__).with_name("chat_process.py")
_PATIENCE = (
    60  # seconds by the clock, for a process that does not even start; its own limit is the processor's time
)
_KILLED = "it takes too long"


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    variables: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The messages in the model's chat template, up to where the model's turn begins.

    `variables` of the template, such as ``{"enable_thinking": False}``, stand before those that were chosen with it
    (`bankai.model.tokenizer.choose_chat_template`). Raises UnsupportedModelError when the template fails, takes too
    long or writes what is no text for a model, ValueError for a variable that is RESERVED.
    """
    chosen = {**getattr(tokenizer, "chat_template_kwargs", {}), **variables}
    if reserved := RESERVED & chosen.keys():
        raise ValueError(f"{min(reserved)} is no variable that can be set; leave it out")
    answer = _renderer(os.getpid()).ask(
        {
            **tokenizer.special_tokens_map,
            **chosen,
            "conversations": [[dict(message) for message in messages]],
            "chat_template": tokenizer.chat_template,
            "add_generation_prompt": True,
        }
    )
    if "text" in answer:
        return answer["text"]
    raise UnsupportedModelError(
        f"the chat template of this model fails: {answer['error']}; use a plain prompt"
    )


@cache
def _renderer(process: int) -> "_Renderer":
    """The one of this process: a fork must not read the answers to another's questions."""
    return _Renderer()


class _Renderer:
    """The process that renders, one chat at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: Mapping[str, object]) -> dict[str, str]:
        """Its answer, or the error that it gave none."""
        with self._lock:
            process = self._process = self._process or _start()
            assert process.stdin is not None and process.stdout is not None
            timer = Timer(_PATIENCE, process.kill)
            timer.start()
            answer: dict[str, str] = {}
            try:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
            except (BrokenPipeError, json.JSONDecodeError):  # it was killed, maybe in the middle of a line
                pass
            finally:
                timer.cancel()
                if (
                    not answer
                ):  # also when this process is interrupted: the answer must not meet the next question
                    self._process = None
                    process.kill()
                    process.communicate()
            return answer or {"error": _KILLED}


def _start() -> "subprocess.Popen[str]":
    """It ends when this process closes its stdin, at the latest by ending."""
    command = [
        sys.executable,
        "-P",
        str(_PROCESS),
    ]  # -P: modules beside it are not to be found under their bare names
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
