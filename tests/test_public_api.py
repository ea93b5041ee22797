"""The public API: `bankai.__all__` is complete, and modules say what they offer."""

import ast
import importlib
from pathlib import Path

import pytest

import bankai

SOURCES = sorted(Path(bankai.__file__).parent.rglob("*.py"))


def test_all_names_exactly_what_is_offered() -> None:
    assert sorted(bankai.__all__) == sorted(bankai._HOME_OF)
    assert dir(bankai) == sorted(bankai.__all__)


@pytest.mark.parametrize("name", bankai.__all__)
def test_every_public_name_is_public_at_home(name: str) -> None:
    home = importlib.import_module(bankai._HOME_OF[name])
    assert getattr(bankai, name) is getattr(home, name)
    assert name in home.__all__


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(bankai.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == bankai._HOME_OF


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        bankai.frobnicate  # noqa: B018


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_every_module_has_a_contract_and_sorted_all(source: Path) -> None:
    tree = ast.parse(source.read_text())
    assert ast.get_docstring(tree), "a module's first docstring states its contract"
    defined = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    names = _all_of(tree)
    if names is None:
        assert not defined, "a module that defines public names lists them in __all__"
    else:
        assert len(names) == len(set(names))
        assert set(defined) <= set(names), "private names start with an underscore"


def _all_of(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return None
