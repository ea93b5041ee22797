"""Docstrings as the pages of the site show them: our prose is nearly Markdown.

Roles become code, columns of fields become lists, drawn trees keep their lines. Left out is what says nothing: special
methods and fields of dataclasses without a docstring, which the signature shows. An extension of griffe; `mkdocs.yml`
names it. Does not know: pages.
"""

import re
from typing import Any

from griffe import Class, Extension, Object

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

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = prose(obj.docstring.value)
        elif _is_said_elsewhere(obj):
            obj.public = False


def _is_said_elsewhere(obj: Object) -> bool:
    if obj.is_function:
        return obj.name.startswith("__")
    parent = obj.parent
    return (
        obj.is_attribute
        and isinstance(parent, Class)
        and any("dataclass" in str(one.value) for one in parent.decorators)
    )
