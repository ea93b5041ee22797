"""The rooms of `bankai`: a room imports the rooms below it, files of a room import each other without circles.

An import counts wherever it stands: at the top of a file, inside a function, under TYPE_CHECKING, or as the constant
argument of `import_module`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import bankai

ROOMS = (
    *("data", "errors", "steps", "io", "tensor_names", "journal", "quantization", "patch", "signing"),
    *("architectures", "checkpoint", "patching", "library", "model", "probes", "evaluation", "search"),
    *("cluster", "baselines", "serving", "jobs", "experiments", "studio", "cli", "__main__", "__init__"),
)
"""Every entry of the package, from the bottom: an arrow between two of them runs down."""

TORCH_FREE = {*ROOMS[: ROOMS.index("model")]} - {"architectures"}
"""In `architectures` the walk of a layer computes, and imports torch where it does; see the light imports below."""
TORCH = {"torch", "transformers", "tokenizers"}

ROOT = Path(bankai.__file__).parent


class Arrow(NamedTuple):
    """One import: where it stands, and the module that it names."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: imports {self.name}"


def arrows(root: Path, file: str) -> Iterator[Arrow]:
    """Every import in a file, `file` being its path below the package."""
    package = (root.name, *Path(file).parent.parts)
    for node in ast.walk(ast.parse((root / file).read_text())):
        match node:
            case ast.Import(names=names):
                found = [alias.name for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package[: len(package) - level + 1] if level else ()
                stem = ".".join((*above, *filter(None, [module])))
                found = [f"{stem}.{alias.name}" for alias in names]
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found = [name]
            case _:
                continue
        yield from (Arrow(file, node.lineno, name) for name in found)


def files(root: Path) -> dict[str, str]:
    """The files of a package by the name of their module."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = path.relative_to(root).as_posix()
    return names


def inner_arrows(root: Path) -> Iterator[tuple[Arrow, str]]:
    """Every import of the package by itself, and the file that it leads to; a name of a module is its module's."""
    known = files(root)
    for file in known.values():
        for arrow in arrows(root, file):
            name = arrow.name
            while name not in known and "." in name:
                name = name.rpartition(".")[0]
            if name in known:
                yield arrow, known[name]


def room(file: str) -> str:
    return Path(file).parts[0].removesuffix(".py")


def faults(root: Path, rooms: tuple[str, ...] = ROOMS) -> list[str]:
    """What breaks the order of the rooms, and the circles between files."""
    entries = {room(path.name) for path in root.iterdir() if path.name != "__pycache__"}
    found = [f"{entry} is in no order; put it among ROOMS" for entry in sorted(entries - {*rooms})]
    graph: dict[tuple[str, str], Arrow] = {}
    for arrow, target in inner_arrows(root):
        here, there = room(arrow.file), room(target)
        if {here, there} <= {*rooms} and rooms.index(here) < rooms.index(there):
            found.append(f"{arrow}: {there} is above {here}; move what both need down")
        graph.setdefault((arrow.file, target), arrow)
    return found + [f"a circle: {'; '.join(map(str, circle))}" for circle in circles(graph)]


def circles(graph: Mapping[tuple[str, str], Arrow]) -> Iterator[list[Arrow]]:
    """One circle after another, each broken at its first arrow to find the next."""
    left = dict(graph)
    while True:
        sorter = TopologicalSorter[str]()
        for file, target in left:
            sorter.add(file, target)
        try:
            sorter.prepare()
            return
        except CycleError as error:
            steps = [*pairwise(error.args[1][::-1])]  # from importer to imported
            yield [graph[step] for step in steps]
            del left[steps[0]]


def test_arrows_run_down() -> None:
    assert "\n".join(faults(ROOT)) == ""


def test_rooms_below_the_model_need_no_torch() -> None:
    below = [file for file in files(ROOT).values() if room(file) in TORCH_FREE]
    heavy = [
        str(arrow) for file in below for arrow in arrows(ROOT, file) if arrow.name.partition(".")[0] in TORCH
    ]
    assert below and "\n".join(heavy) == ""


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import bankai", ["numpy", "msgspec", "typer", "rich", "torch"]),
        ("import bankai.patch", ["numpy", "torch", "gguf"]),
        ("from bankai import Patch, read_patch, from_pretrained", ["numpy", "torch", "gguf"]),
        ("import bankai.jobs.describe, bankai.cli.info", ["numpy", "torch", "rich", "gguf"]),
        ("import bankai.jobs.patch_files, bankai.patching, bankai.checkpoint.convert", sorted(TORCH)),
        ("import bankai.architectures, bankai.checkpoint.model_file", sorted(TORCH)),
        ("import bankai.signing.signature, bankai.cli.trust", ["numpy", "torch", "cryptography"]),
        ("from bankai import ProbeSet, load_probe_set", ["torch", "transformers"]),
    ],
)
def test_light_imports_stay_light(statement: str, absent: list[str]) -> None:
    code = f"import sys; {statement}; print(*[name for name in {absent!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def planted(folder: Path, tree: Mapping[str, str]) -> list[str]:
    """The faults of a made-up package whose rooms are low, high and, at the top, its `__init__`."""
    root = folder / "bankai"
    for name, text in ({"__init__.py": ""} | dict(tree)).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return faults(root, ("low", "high", "__init__"))


def test_a_tree_in_order_has_no_faults(tmp_path: Path) -> None:
    tree = {
        "low.py": "import json\nfrom pathlib import Path\n",
        "high/__init__.py": "from bankai.high.one import one\n",
        "high/one.py": "from bankai import low\nfrom bankai.low import Path as one\nfrom .two import two\n",
        "high/two.py": "from importlib import import_module\ntwo = import_module('bankai.low')\n",
        "__init__.py": "import bankai.high\n",
    }
    assert planted(tmp_path, tree) == []


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("import json\nimport bankai.high.one\n", 2, "bankai.high.one"),
        ("from bankai.high.one import one\n", 1, "bankai.high.one.one"),
        ("from bankai.high import one\n", 1, "bankai.high.one"),
        ("from bankai import high\n", 1, "bankai.high"),
        ("from .high import one\n", 1, "bankai.high.one"),
        ("def later():\n    from bankai.high import one\n", 2, "bankai.high.one"),
        ("if TYPE_CHECKING:\n    from bankai.high import one\n", 2, "bankai.high.one"),
        ("import importlib\nhigh = importlib.import_module('bankai.high.one')\n", 2, "bankai.high.one"),
    ],
)
def test_a_planted_back_arrow_is_named(tmp_path: Path, text: str, line: int, name: str) -> None:
    found = planted(tmp_path, {"low.py": text, "high/__init__.py": "", "high/one.py": ""})
    told = f"low.py, line {line}: imports {name}: high is above low; move what both need down"
    assert found == [told]


def test_no_room_imports_the_names_of_the_whole(tmp_path: Path) -> None:
    found = planted(tmp_path, {"low.py": "from bankai import Patch\n"})
    assert found == ["low.py, line 1: imports bankai.Patch: __init__ is above low; move what both need down"]


def test_a_planted_circle_is_named(tmp_path: Path) -> None:
    tree = {
        "low/one.py": "from bankai.low import two\n",
        "low/two.py": "def later():\n    from bankai.low.three import three\n",
        "low/three.py": "import bankai.low.one\n",
        "high/__init__.py": "from bankai.high.one import one\n",
        "high/one.py": "from bankai.high import two\n",
    }
    found = sorted(planted(tmp_path, tree), key=len)
    assert len(found) == 2 and all(told.startswith("a circle: ") for told in found)
    assert {*found[0].removeprefix("a circle: ").split("; ")} == {
        "high/__init__.py, line 1: imports bankai.high.one.one",
        "high/one.py, line 1: imports bankai.high.two",
    }
    assert {*found[1].removeprefix("a circle: ").split("; ")} == {
        "low/one.py, line 1: imports bankai.low.two",
        "low/two.py, line 2: imports bankai.low.three.three",
        "low/three.py, line 1: imports bankai.low.one",
    }


def test_an_entry_without_a_place_is_named(tmp_path: Path) -> None:
    found = planted(tmp_path, {"attic/__init__.py": "", "notes.txt": ""})
    assert found == [f"{name} is in no order; put it among ROOMS" for name in ("attic", "notes.txt")]
