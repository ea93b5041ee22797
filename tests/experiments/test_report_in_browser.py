"""The report of the stored results, in a real browser: every plot drawn, nothing fetched, nothing cut off."""

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import Visit, chromium, visit
from PIL import Image

from bankai.experiments import EXPERIMENTS
from bankai.experiments.registry import experiment
from bankai.experiments.report import Summary, read_results, write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.engines

STORED = Path(__file__).parents[2] / "benchmarks" / "results" / "experiments"
WHITE = (255, 255, 255)
LEGIBLE = 4.5  # contrast of text, WCAG 2 level AA


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    missing = [name for name in EXPERIMENTS if not (STORED / f"{name}.json").exists()]
    assert not missing, (
        f"no stored results of {', '.join(missing)}; run: bankai experiment all --model nano --out {STORED}"
    )
    out = tmp_path_factory.mktemp("report")
    for name in EXPERIMENTS:
        shutil.copy(STORED / f"{name}.json", out)
    return write_report(out)


@pytest.fixture(scope="module")
def seen(browser: "Browser", report: Summary) -> Iterator[Visit]:
    with visit(browser, Path(report.report).as_uri()) as found:
        yield found


def picture(element: "Locator") -> Image.Image:
    return Image.open(io.BytesIO(element.screenshot())).convert("RGB")


def test_every_plot_is_drawn(seen: Visit, report: Summary) -> None:
    results = read_results(Path(report.report).parent)
    titles = [plot.title for name in EXPERIMENTS for plot in experiment(name).plots(results[name]["result"])]
    assert titles and seen.page.locator("figcaption").all_text_contents() == titles
    images = seen.page.locator("figure img").all()
    assert len(images) == len(titles) == seen.page.evaluate("document.images.length")
    for title, image in zip(titles, images, strict=True):
        assert image.evaluate("one => one.complete && one.naturalWidth > 0"), title
        drawn = picture(image)
        ink = sum(count for count, color in drawn.getcolors(1 << 24) if color != (255, 255, 255))
        assert ink > 0.005 * drawn.width * drawn.height, title
        assert any(max(color) - min(color) > 60 for _, color in drawn.getcolors(1 << 24)), (
            title
        )  # not only axes


def test_the_page_asks_for_nothing_and_complains_of_nothing(seen: Visit, report: Summary) -> None:
    assert seen.asked[0] == Path(report.report).as_uri()
    assert all(address.startswith("data:") for address in seen.asked[1:])
    assert not seen.complaints


def test_every_experiment_and_verdict_is_to_be_seen(seen: Visit, report: Summary) -> None:
    for name in EXPERIMENTS:
        heading = seen.page.locator(f"h2#{name}")
        assert heading.is_visible() and heading.text_content() == name
        assert len(picture(heading).getcolors(1 << 24)) > 2  # a font drew it
    cells = seen.page.locator(".verdict")
    told = [one.verdict for one in report.claims]
    assert cells.all_text_contents() == told * 2  # all together, then by experiment
    assert all(cell.is_visible() for cell in cells.all())


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_cut_off(browser: "Browser", report: Summary, width: int) -> None:
    """On a narrow screen wide tables scroll, to their last column; the page never does."""
    with visit(browser, Path(report.report).as_uri(), width) as narrow:
        page = narrow.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("table").count() == page.locator(".wide > table").count()
        boxes = page.locator(".wide").evaluate_all(
            """all => all.map(one => [getComputedStyle(one).overflowX, one.scrollHeight - one.clientHeight,
                                      one.scrollWidth - one.clientWidth])"""
        )
        assert all((overflow, below) == ("auto", 0) for overflow, below, _ in boxes)
        assert any(beside > 0 for *_, beside in boxes) == (width == 400)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_legible(browser: "Browser", report: Summary, dark: bool) -> None:
    """Plots are drawn on white, and stay on it."""
    with visit(browser, Path(report.report).as_uri(), dark=dark) as found:
        (paper,) = colors(found.page, "body", "backgroundColor")
        assert (paper == WHITE) != dark
        inks = colors(found.page, "body, body :not(figure, figure *)", "color")
        assert len(inks) > 2 and all(contrast(ink, paper) > LEGIBLE for ink in inks)
        assert colors(found.page, "figure", "backgroundColor") == {WHITE}
        assert all(contrast(ink, WHITE) > LEGIBLE for ink in colors(found.page, "figcaption", "color"))


def colors(page: "Page", selector: str, kind: str) -> set[tuple[int, ...]]:
    """Those of all such elements."""
    script = "(all, kind) => all.map(one => getComputedStyle(one)[kind])"
    found = page.locator(selector).evaluate_all(script, kind)
    return {tuple(map(int, re.findall(r"\d+", one))) for one in found}


def contrast(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """As WCAG 2 defines it."""
    low, high = sorted(
        sum(
            part * (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
            for part, value in zip((0.2126, 0.7152, 0.0722), (one / 255 for one in shade), strict=True)
        )
        for shade in (first, second)
    )
    return (high + 0.05) / (low + 0.05)
