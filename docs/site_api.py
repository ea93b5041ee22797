"""Docstrings as the pages of the site show them: our prose is nearly Markdown.

Roles become code, columns of fields become lists, drawn trees keep their lines. Left out is what says nothing. An
extension of griffe; `mkdocs.yml` names it.
"""

import re
from typing import Any

from griffe import Alias, Class, Extension, Function, Module, Object

__all__ = ["Prose", "prose"]

ROLE = re.compile(r":(?:attr|class|func|meth|mod):`([^`]+)`")
FIELD = re.compile(r"^(``\w+``) {2,}(?=\S)", re.MULTILINE)  # a name, and what it is in a column of its own
TREE = re.compile(r"^.+\n(?:[├│└].*\n?)+", re.MULTILINE)


def prose(text: str) -> str:
    """A docstring as Markdown."""
    text = ROLE.sub(r"`\1`", text)
    text = FIELD.sub(r"- \1: ", text)
    return TREE.sub(lambda tree: f"```text\n{tree[0].rstrip()}\n```\n", text)


class Prose(Extension):
    """Goes over everything that griffe has read."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        _go_over(pkg)


def _go_over(parent: Object) -> None:
    for name, member in list(parent.members.items()):
        if isinstance(member, Alias):
            continue  # shown from where it is
        if member.docstring is not None:
            member.docstring.value = prose(member.docstring.value)
        elif isinstance(parent, Class) and _says_nothing(member, parent):
            parent.del_member(name)
        _go_over(member)


def _says_nothing(member: Object, parent: Class) -> bool:
    """Without a docstring: a special method, a field that the signature has, or what a constructor sets."""
    if member.is_function:
        return member.name.startswith("__") and member.name != "__init__"
    init = parent.members.get("__init__")
    made = isinstance(init, Function) and None not in (init.lineno, init.endlineno, member.lineno)
    return member.is_attribute and (
        any("dataclass" in str(one.value) for one in parent.decorators)
        or (made and init.lineno <= member.lineno <= init.endlineno)
    )
