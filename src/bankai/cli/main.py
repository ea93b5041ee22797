"""The `bankai` command: its table of commands, and what becomes of errors.

Exit codes: 0 done; 1 `status` found foreign bits, `verify` no good signature, `library check` unsound patches, `probes
audit` bad probes, `search` and `demo` no patch, or `fix` none that helps; 2 a wrong argument or file, told in one line
on stderr; 130 interrupted. An exception that is neither of `bankai.errors` nor the system's is a bug and keeps its
traceback.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from bankai.cli.output import clean
from bankai.errors import BankaiError

__all__ = ["COMMANDS", "command", "main"]

COMMANDS = {
    "fix": "bankai.cli.fix:fix",
    "demo": "bankai.cli.demo:demo",
    "search": "bankai.cli.search:search",
    "eval": "bankai.cli.evaluate:evaluate",
    "generate": "bankai.cli.generate:generate",
    "serve": "bankai.cli.serve:serve",
    "studio": "bankai.cli.studio:studio",
    "apply": "bankai.cli.store:apply",
    "revert": "bankai.cli.store:revert",
    "swap": "bankai.cli.store:swap",
    "status": "bankai.cli.store:status",
    "recover": "bankai.cli.store:recover",
    "bind": "bankai.cli.patches:bind",
    "compose": "bankai.cli.patches:compose",
    "info": "bankai.cli.info:info",
    "keygen": "bankai.cli.trust:keygen",
    "sign": "bankai.cli.trust:sign",
    "verify": "bankai.cli.trust:verify",
    "trust": "bankai.cli.trust:trust",
    "export": "bankai.cli.export:export",
    "library": "bankai.cli.library:app",
    "convert": "bankai.cli.models:convert",
    "model": "bankai.cli.models:model",
    "synth": "bankai.cli.models:synth",
    "probes": "bankai.cli.probes:app",
    "experiment": "bankai.cli.experiment:app",
}
"""Where each command lives, in the order of `bankai --help`."""

USAGE, INTERRUPTED = 2, 130

_EXTRA_OF = {
    "torch": "search",
    "transformers": "search",
    "tokenizers": "search",
    "llama_cpp": "llama",
    "mlx": "mlx",
    "lm_eval": "harness",
    "jinja2": "search",
    "matplotlib": "report",
    "gradio": "studio",
    "fastapi": "serve",
    "uvicorn": "serve",
    "pydantic": "serve",
    "starlette": "serve",
}


class _LazyGroup(TyperGroup):
    """Commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        target = getattr(import_module(module), name)
        if not isinstance(target, typer.Typer):
            function, target = target, _app()
            target.command(cmd_name)(function)
        return get_command(target)


def _app(**settings: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None, **settings)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bankai {version('bankai')}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """XOR patches for language models.

    A MODEL is a .gguf file, an MLX directory or a built-in name (nano). A SET of probes is a JSONL file or a
    built-in name. Every command takes --json: one document on stdout, progress on stderr.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def command() -> Any:
    """The command tree."""
    # Commands take the names of the help option from the group above them.
    names = {"help_option_names": ["-h", "--help"]}
    app = _app(cls=_LazyGroup, invoke_without_command=True, context_settings=names)
    app.callback()(_root)
    return get_command(app)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    # Read when torch loads. Threads that spin while they wait made a demo on a busy machine 3 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = sys.argv[1:] if args is None else args
    if isinstance(sys.stdout, TextIOWrapper):
        # As on stderr: what the terminal's encoding cannot hold is escaped, and ends no command.
        sys.stdout.reconfigure(errors="backslashreplace")
    fault = _fault(args)
    sys.exit(_refuse(fault) if fault else _run(args))


def _fault(args: Sequence[str]) -> str | None:
    """What keeps every command from running."""
    if sys.stdout is None:  # and a file that a command opens would take its descriptor
        return "standard output is closed; send it somewhere, such as /dev/null"
    try:
        "".join(args).encode()
    except UnicodeEncodeError:  # bytes of another encoding, which neither JSON nor a tokenizer takes
        return "an argument is not valid UTF-8; give text, or rename the file"
    return None


def _run(args: Sequence[str]) -> int:
    try:
        code = command().main(args=args, prog_name="bankai", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone; nothing is left to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (typer.TyperException, BankaiError) as error:
        return _refuse(_usage(error) if isinstance(error, typer.TyperException) else str(error))
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA_OF:
            raise
        return _refuse(f"this needs {error.name}; run: pip install 'bankai[{_EXTRA_OF[error.name]}]'")
    except OSError as error:
        return _refuse(
            f"{error.filename}: {error.strerror}; check path and permissions"
            if error.filename
            else str(error)
        )
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _refuse("not enough memory for this model; use a smaller one or a machine with more")
    return code if isinstance(code, int) else 0


def _is_out_of_memory(error: Exception) -> bool:
    """torch tells it by a RuntimeError, in words that differ between devices and systems."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _usage(error: typer.TyperException) -> str:
    """What is wrong with the arguments, without the mark that pydantic puts before it, and where to look."""
    message = error.format_message().replace(": Value error, ", ": ", 1)
    asked = getattr(error, "ctx", None)
    if asked is None or not message.startswith(("No such", "Missing")):
        return message
    return f"{message.removesuffix('.')}; see: {asked.command_path} --help"


def _refuse(message: str) -> int:
    """One line, whatever a hostile file has put into the message."""
    typer.echo(f"bankai: {' '.join(clean(message).split())}", err=True)
    return USAGE
