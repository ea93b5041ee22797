"""The process in which chat templates run; `bankai.model.chat` starts it as a script and asks it.

Contract: reads requests from stdin, one JSON object a line, and answers each with a line: `{"text": ...}` or
`{"error": ...}`. It has a second of the processor's time for each, and ends when that is over, whatever it is in; it
has so much memory. Imports no torch and nothing of this package, so that it starts fast.
"""

import json
import resource
import signal
import sys

from transformers.utils.chat_template_utils import render_jinja_template  # in jinja's sandbox

_MEMORY = 256 << 20
_SECONDS = 1
_LONGEST_CHAT = 1 << 20  # bytes: far beyond every context, and quickly tokenized
_LONGEST_REASON = 200


def _limit_memory() -> None:
    """No more than now and so much; where the system does not tell how much that is, no limit."""
    try:
        with open("/proc/self/statm") as statm:
            most = int(statm.read().split()[0]) * resource.getpagesize() + _MEMORY
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _answer(line: str) -> dict[str, str]:
    try:
        (text,), _ = render_jinja_template(**json.loads(line))
        size = len(text.encode())
    except Exception as error:  # a template is a program from the file: it can raise anything
        return {"error": f"{type(error).__name__}: {error}"[:_LONGEST_REASON]}
    if size > _LONGEST_CHAT:
        return {"error": f"it writes {size} bytes"}
    return {"text": text}


if __name__ == "__main__":
    _limit_memory()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)  # its signal ends the process
        print(json.dumps(_answer(line)), flush=True)
