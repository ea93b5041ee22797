"""Run the commands of pages as written, and put what they print under them.

python docs/run_page.py

Blocks of the page, by what stands after their opening fence:

- `python title="FILE"`: the file is written.
- `sh`: the commands run, and the first that fails ends all; a `text` block right after them holds what they print on
  stdout.
- `console title="another terminal"`: a program that keeps running. Lines that begin with `$` start it, lines that
  begin with `>` are typed, and the line after one is what it answers.

Whatever has another title is left alone. `PAGES` run one after the other in one empty folder, with trusted keys of its
own, and a password in the environment, as nobody is there to be asked.
"""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer

__all__ = ["PAGES", "numbers_hidden", "run_page"]

DOCS = Path(__file__).parent
GUIDES = ("llama-cpp", "desktop", "mlx", "vllm", "phones")
PAGES = (
    "tutorial.md",
    "format.md",
    *(f"runtimes/{guide}.md" for guide in GUIDES),
)  # in the order of what they need

BLOCK = re.compile(
    r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```\n(\n```text\n(.*?)^```\n)?', re.MULTILINE | re.DOTALL
)
SECONDS = 120.0  # the longest that one block or answer may take
KEYS = re.compile(r"\bRW[A-Za-z0-9+/]{54}|\b(?=[A-Fa-f]*\d)[0-9A-Fa-f]{8,}\b")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
TIME = re.compile(r"#(?: h #)?(?: min #)? (?:h|min|s)\b")


def run_page(page: str, folder: Path) -> str:
    """The page with what its commands print now.

    Raises subprocess.CalledProcessError when one fails, subprocess.TimeoutExpired when one does not end.
    """
    settings = folder / "settings"
    there = os.environ | {
        "XDG_CONFIG_HOME": str(settings),
        "XDG_CACHE_HOME": str(settings),
        "BANKAI_PASSWORD": "a password",
        "COLUMNS": "100",
    }
    there["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{there['PATH']}"
    terminal = Terminal(folder, there)

    def run(block: re.Match[str]) -> str:
        kind, title, text, output = block.group(1, 2, 3, 4)
        if kind == "python" and title:
            (folder / title).write_text(text)
        elif kind == "console":
            return f'```console title="{title}"\n{terminal.session(text)}```\n{output or ""}'
        elif kind == "sh" and not title:
            command = ["bash", "-e", "-c", text]
            done = subprocess.run(
                command, cwd=folder, env=there, stdout=subprocess.PIPE, text=True, check=True, timeout=SECONDS
            )
            printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
            printed = printed.replace(str(settings), "~/.config")
            return block[0] if output is None else f"```sh\n{text}```\n\n```text\n{printed}```\n"
        return block[0]

    try:
        return BLOCK.sub(run, page)
    finally:
        terminal.close()


class Terminal:
    """One program that reads lines and answers each with a line."""

    def __init__(self, folder: Path, there: dict[str, str]) -> None:
        self._folder, self._there = folder, there
        self._program: subprocess.Popen[str] | None = None

    def session(self, text: str) -> str:
        """The lines of a block with the answers that are given now."""
        lines = []
        for line in text.splitlines():
            if line.startswith("$ "):
                self._start(line[2:])
            elif line.startswith("> "):
                lines += [line, self._answer(line[2:])]
                continue
            else:
                continue  # an answer of an earlier time
            lines.append(line)
        return "".join(f"{line}\n" for line in lines)

    def close(self) -> None:
        """End the program."""
        if self._program is not None:
            self._program.kill()
            self._program.communicate()
            self._program = None

    def _start(self, command: str) -> None:
        self.close()
        self._program = subprocess.Popen(
            command.split(),
            cwd=self._folder,
            env=self._there,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _answer(self, line: str) -> str:
        program = self._program
        assert program is not None and program.stdin is not None and program.stdout is not None
        patience = Timer(SECONDS, program.kill)
        patience.start()
        with suppress(BrokenPipeError):  # then there is no answer either
            program.stdin.write(f"{line}\n")
            program.stdin.flush()
        answer = program.stdout.readline()
        patience.cancel()
        if not answer:
            raise subprocess.CalledProcessError(program.wait(SECONDS), program.args)
        return answer.removeprefix("> ").rstrip()


def numbers_hidden(page: str) -> str:
    """A page for comparing: in what was printed, numbers and keys are a mark, and any blanks one.

    They differ from machine to machine: times, digests, keys, dates, the last digits of floats.
    """

    def hidden(block: re.Match[str]) -> str:
        kind, title, text, printed = block.group(1, 2, 3, 5)
        if printed is None:
            return block[0]
        plain = TIME.sub("#", NUMBER.sub("#", KEYS.sub("#", printed)))
        return f"{kind} {title}\n{text}\n" + "\n".join(" ".join(line.split()) for line in plain.splitlines())

    return BLOCK.sub(hidden, page)


if __name__ == "__main__":
    with TemporaryDirectory() as empty:
        for path in (DOCS / page for page in PAGES):
            path.write_text(run_page(path.read_text(), Path(empty)))
