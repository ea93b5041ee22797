"""The tables of the page about scale are what the cost model says of the stored results."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("make_scale_page", ROOT / "docs" / "make_scale_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_current(module) -> None:
    """`make docs` writes it."""
    assert module.page() == module.PAGE.read_text(encoding="utf-8")


def test_every_block_has_its_place(module) -> None:
    text = module.PAGE.read_text(encoding="utf-8")
    for name in module.BLOCKS:
        assert text.count(f"<!-- scale:{name} -->") == text.count(f"<!-- /scale:{name} -->") == 1


def test_the_bottleneck_is_what_takes_most(module) -> None:
    plan = importlib.import_module("benchmarks.plan")
    one = plan.Spent(1, 10.0)
    one.kinds.update({plan.MEASURE: 7.0, plan.ANSWERS: 3.0})
    assert module.bottleneck(one) == (plan.MEASURE, 0.7)
    two = plan.Spent(2, 10.0, copies=4.0)
    two.kinds.update(one.kinds)
    two.waiting.update({"attribution": 5.0, plan.MEASURE: 1.0})
    assert module.bottleneck(two) == ("waiting for the last unit of attribution", 0.25)
    two.copies = 6.0
    assert module.bottleneck(two) == ("copies of cached streams", 0.3)
