"""The pages of evidence are what the stored results say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pages_and_plots_are_current() -> None:
    """`make docs` writes them."""
    spec = importlib.util.spec_from_file_location(
        "make_evidence_page", ROOT / "docs" / "make_evidence_page.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page in module.PAGES:
        for path, text in page.written().items():
            assert text == path.read_text(encoding="utf-8"), path.name
