"""The site: it builds strictly, every public name is on it, and nothing on it comes from elsewhere."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import chromium, visit

import bankai

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "api"
LOADS = {"script", "img", "iframe", "source", "video", "audio", "embed", "track", "object", "image", "use"}
LINKS_THAT_LOAD = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "manifest",
}


class Loads(HTMLParser):
    """What a page makes a browser fetch; links that a reader follows are none of it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {key: value or "" for key, value in attrs}
        if tag in LOADS:
            self.found += [told[key] for key in ("src", "srcset", "data", "href", "poster") if key in told]
        if tag == "link" and set(told.get("rel", "").split()) & LINKS_THAT_LOAD:
            self.found.append(told.get("href", ""))
        self.found += re.findall(r"url\(([^)]*)\)", told.get("style", ""))


def is_elsewhere(address: str) -> bool:
    return re.match(r"""['" ]*([a-z]+:)?//""", address) is not None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as opened:
        yield opened


def test_what_counts_as_loading() -> None:
    page = '<script src="https://x/a.js"></script><link rel="preconnect" href="//x"><a href="https://x">x</a>'
    page += '<p style="background: url(http://x/i)"><link rel="canonical" href="https://x"><img src="i.png">'
    assert [one for one in Loads(page).found if is_elsewhere(one)] == ["https://x/a.js", "//x", "http://x/i"]


@pytest.mark.engines
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = {path: Loads(path.read_text()).found for path in site.rglob("*.html")}
    assert len(pages) > 25 and all(pages.values())
    styles = {path: re.findall(r"(?:url\(|@import)([^)]*)", path.read_text()) for path in site.rglob("*.css")}
    assert styles
    for path, found in (pages | styles).items():
        assert [one for one in found if is_elsewhere(one)] == [], path


@pytest.mark.engines
@pytest.mark.parametrize("page", ["index.html", "tutorial.html", "benchmarks.html", "api/search.html"])
@pytest.mark.parametrize("width", [1280, 390])
def test_read_from_the_disk(browser: "Browser", site: Path, page: str, width: int) -> None:
    with visit(browser, (site / page).as_uri(), width) as seen:
        seen.page.wait_for_load_state("networkidle")
        assert all(address.startswith((site.as_uri(), "data:", "blob:")) for address in seen.asked)
        assert not seen.complaints
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.engines
def test_search_works_from_the_disk(browser: "Browser", site: Path) -> None:
    with visit(browser, (site / "index.html").as_uri()) as seen:
        seen.page.locator("input.md-search__input").fill("minisign")
        titles = seen.page.locator(".md-search-result__item h1")
        titles.first.wait_for()
        assert "Signatures" in " ".join(seen.page.locator(".md-search-result__item").all_text_contents())
        assert not seen.complaints


@pytest.mark.engines
def test_the_api_shows_public_names_only(site: Path) -> None:
    """All of them but constants without a word about them."""
    pages = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    shown = set(re.findall(r'<h\d id="(bankai[\w.]*)"', pages))
    modules = set(documented())
    assert len(shown) > 300 and modules <= shown
    for module in modules:
        names = {
            one.removeprefix(f"{module}.").split(".")[0] for one in shown if one.startswith(f"{module}.")
        }
        inner = {other.removeprefix(f"{module}.") for other in modules if other.startswith(f"{module}.")}
        public = set(public_names(module))
        assert names <= public | inner, module
        assert all(name.isupper() for name in public - names), module


@pytest.mark.engines
def test_docstrings_are_shown_as_they_are_meant(site: Path) -> None:
    errors = (site / "api" / "errors.html").read_text()
    tree = re.search(r"<code>BankaiError .*?</code>", errors, re.DOTALL)
    assert tree is not None and tree[0].count("\n├── ") > 8 and "\n│   └── " in tree[0]
    quantizations = (site / "api" / "quantization.html").read_text()
    matrix = re.search(
        r'id="bankai.quantization.PackedTensor".*?id="bankai.quantization.PackedTensor.shape"',
        quantizations,
        re.DOTALL,
    )
    assert matrix is not None
    told = unescape(re.sub(r"<[^>]+>", "", matrix[0]))
    assert "PackedTensor(name: str, quantization: Quantization, blocks: Blocks)" in told
    assert len(re.findall(r"<li><code>(?:name|quantization|blocks)</code>: ", matrix[0])) == 3
    text = "".join(page.read_text() for page in (site / "api").glob("*.html"))
    assert not re.search(r":(?:class|func|meth|mod|attr):", text) and "__exit__" not in text


def documented() -> list[str]:
    """The modules that the pages of the API ask for."""
    return re.findall(r"^::: (\S+)$", "".join(page.read_text() for page in API.glob("*.md")), re.MULTILINE)


def public_names(module: str) -> list[str]:
    """Its `__all__`, without importing it."""
    path = ROOT / "src" / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


def test_every_room_with_public_names_has_a_page() -> None:
    package = ROOT / "src" / "bankai"
    rooms = [
        f"bankai.{path.parent.name}"
        for path in package.glob("*/__init__.py")
        if "\n__all__" in path.read_text()
    ]
    assert len(rooms) >= 8
    assert not set(rooms) - set(documented())


def test_the_names_of_bankai_itself_are_listed_with_their_homes() -> None:
    listed = re.findall(
        r"^\| \[`(\w+)`\]\[([\w.]+)\.(\w+)\] \| `([\w.]+)` \|$", (API / "index.md").read_text(), re.MULTILINE
    )
    assert [name for name, *_ in listed] == sorted(bankai.__all__)
    for name, home, again, shown in listed:
        assert (again, home, shown) == (name, bankai._HOME_OF[name], bankai._HOME_OF[name])


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_lists_are_lists_to_every_markdown(page: Path) -> None:
    """The site's wants an empty line before a list and four blanks before an inner one; others do with less."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    item = r"(?:[-*]|\d+\.) "
    assert re.findall(rf"^ {{1,3}}{item}.*", text, re.MULTILINE) == []
    assert re.findall(rf"^(?!{item}|[ #|]).+\n{item}.*", text, re.MULTILINE) == []
