"""docs/security.md: what it names exists, and no file is a program."""

import ast
import os
import pickle
import re
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from fuzz.readers import READERS

from bankai.errors import BankaiError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[a-z_/]+\.py)::(\w+)(?:\[([^\]]+)\])?`", PAGE)


@pytest.mark.parametrize(("path", "name", "case"), NAMED)
def test_a_named_test_exists(path: str, name: str, case: str) -> None:
    """Its case too: as a literal of the file, or of the hostile files that all tests share."""
    source = (ROOT / path).read_text()
    assert name in {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    literals = {
        node.value
        for text in (source, (ROOT / "tests" / "hostile.py").read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant)
    }
    assert not case or case in literals


def test_every_class_names_a_test_and_says_where_it_was_published() -> None:
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| class", "| file"))
    ]
    classes = [row for row in rows if "tests/" in row]
    assert len(classes) >= 20 and len(NAMED) >= 50
    for row in classes:
        _, _, published, _, _ = (cell.strip() for cell in row.split("|"))
        assert "](https://" in published or published == "no CVE known to us", row


class Program:
    """Unpickling one makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", READERS)
def test_no_reader_runs_a_pickle(name: str, tmp_path: Path) -> None:
    """Nor one in a zip file, which is what PyTorch writes."""
    plain = pickle.dumps(Program(tmp_path / "mark"))
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
    for data in (plain, packed.getvalue()):
        with suppress(BankaiError):
            READERS[name].read(data)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(plain)
    assert [path.name for path in tmp_path.iterdir()] == ["mark"]


RUNS_DATA = {"pickle", "marshal", "shelve", "dill", "joblib", "yaml", "runpy"}


def test_the_package_has_no_way_to_run_data() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                assert not {module.split(".")[0] for module in modules} & RUNS_DATA, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "torch.load", "np.load", "numpy.load"), path
