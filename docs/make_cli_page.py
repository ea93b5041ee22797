"""Write `docs/cli.md` from the commands' own help; a test checks that the page is current.

python docs/make_cli_page.py
"""

from pathlib import Path

import typer

from bankai.cli.main import command

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100
HEAD = """\
# The command line

Written by `make docs` from `--help`; do not edit.

Exit codes: 0 done; 1 from `status` when the bits are foreign, from `verify` when no trusted key signed exactly this
file, from `library check` when a patch is unsound, from `probes audit` when a probe is bad, and from `search` and
`demo` when no patch was found (nothing is written); 2 a wrong argument or file, told in one line on stderr, `--json` or
not (stdout then stays empty); 130 interrupted.
"""


def page() -> str:
    """The whole page."""
    sections = (f"\n## {name}\n\n```\n{text}\n```\n" for name, text in helps(command(), "bankai", None))
    return HEAD + "".join(sections)


def helps(node: typer.core.TyperGroup, name: str, parent: typer.Context | None) -> list[tuple[str, str]]:
    """(name, help) of a command and of everything below it."""
    settings = node.context_settings | {"terminal_width": WIDTH}
    context = typer.Context(node, info_name=name.rpartition(" ")[2], parent=parent, **settings)
    found = [(name, node.get_help(context).rstrip())]
    for child in getattr(node, "list_commands", lambda _: ())(context):
        found += helps(node.get_command(context, child), f"{name} {child}", context)
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
