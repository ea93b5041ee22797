"""The page of evidence is what the stored results say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_page_is_current() -> None:
    """`make docs` writes it."""
    spec = importlib.util.spec_from_file_location(
        "make_evidence_page", ROOT / "docs" / "make_evidence_page.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == module.PAGE.read_text(encoding="utf-8")
