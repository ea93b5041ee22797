"""The page in a real browser, served by the real command: what visitors do, and that nothing leaves the machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from browser import Visit, chromium, visit
from served import add_patches

from bankai.library.library import Library
from bankai.patch import read_patch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.engines

WATCH = """
import os, sys

def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["WATCHED"], "a") as file:
            print(event, args[0] if event == "socket.getaddrinfo" else args[1], file=file)

sys.addaudithook(watch)
"""
LOOPBACK = re.compile(r"socket\.\w+ (\('(127\.0\.0\.1|::1)', .*\)|127\.0\.0\.1|localhost|::1|b?'?/.*)")
HARMLESS = "Method not implemented."  # Gradio's client closes a stream that it never opened
HOSTILE = '<img src=x onerror="window.hacked=1">${window.hacked=1}{{7*7}}'
WRONG, RIGHT = "0↵", "25x^4 + 8x^3↵"


class Studio:
    """A running studio and its folders."""

    def __init__(self, library: Path, folder: Path, *args: str) -> None:
        self.runs, self.library, self.watched = folder / "runs", folder / "library", folder / "watched"
        shutil.copy(library, self.library)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(WATCH)  # in every Python process that it starts
        self.watched.touch()
        command = [sys.executable, "-m", "bankai", "studio", "nano", "--json", "--port", "0", *args]
        command += ["--library", str(self.library), "--runs", str(self.runs)]
        environment = {
            "PYTHONPATH": str(folder / "site"),
            "WATCHED": str(self.watched),
            "TMPDIR": str(folder),
        }
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | environment, cwd=folder
        )
        lines: list[str] = []
        while not lines or lines[-1] not in ("}\n", ""):
            lines.append(self.process.stdout.readline())
        self.url: str = json.loads("".join(lines))["url"]


@contextmanager
def running(library: Path, folder: Path, *args: str) -> Iterator[Studio]:
    studio = Studio(library, folder, *args)
    try:
        yield studio
    finally:
        studio.process.kill()
        studio.process.communicate()


@pytest.fixture(scope="module")
def studio(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with running(library, tmp_path_factory.mktemp("studio")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def seen(browser: "Browser", studio: Studio) -> Iterator[Visit]:
    with visited(browser, studio) as found:
        yield found


@contextmanager
def visited(browser: "Browser", studio: Studio, width: int = 1280, dark: bool = False) -> Iterator[Visit]:
    """The page once it is ready; at its end, that it asked nobody else and complained of nothing."""
    with visit(browser, studio.url, width, dark) as found:
        found.page.set_default_timeout(60_000)
        found.page.get_by_label("elicit").wait_for()
        yield found
        assert {
            address for address in found.asked if not address.startswith((studio.url, "data:", "blob:"))
        } == set()
        assert [complaint for complaint in found.complaints if complaint != HARMLESS] == []
        assert found.page.evaluate("window.hacked") is None


def check(page: "Page", label: str) -> None:
    """Gradio draws a control anew while the page loads, and a click on the old one is lost: then once more."""
    from playwright.sync_api import Error

    for _ in range(3):
        with suppress(Error):
            page.get_by_label(label).check(timeout=20_000)
            return
    page.get_by_label(label).check()


def tab(page: "Page", name: str) -> None:
    page.get_by_role("tab", name=name).click()


def choose(page: "Page", control: str, option: str) -> None:
    page.locator(f"{control} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def replies(page: "Page") -> list[str]:
    return [text.strip() for text in page.locator("#compared .reply .text").all_text_contents()]


def test_a_switch_changes_the_text(seen: Visit) -> None:
    page = seen.page
    page.locator("#compare").click()
    page.locator("#compared .reply.base").wait_for()
    assert replies(page) == [WRONG] and page.locator(".reply.patched").count() == 0
    check(page, "elicit")
    page.locator(".reply.patched").wait_for()
    assert replies(page) == [WRONG, RIGHT]
    assert page.locator(".reply.base .token.new").all_text_contents() == ["0"]
    assert page.locator(".reply.patched .token.new.up").count() > 0
    assert "%" in page.locator(".reply.patched .token").first.get_attribute("title")
    assert page.locator(".bar").count() == 10
    check(page, "small")
    page.get_by_role("heading", name="elicit + small").wait_for()
    page.get_by_label("small").uncheck()
    page.get_by_label("elicit").uncheck()
    page.get_by_text("Switch a patch on").wait_for()
    assert replies(page) == [WRONG]


def test_what_cannot_be_asked_is_told_in_its_place(seen: Visit) -> None:
    page = seen.page
    page.locator("#prompt textarea").fill("")
    page.locator("#compare").click()
    page.locator("#compared .refusal").wait_for()
    assert "at least 1" in page.locator("#compared .refusal").text_content()


def test_probes_are_measured_and_filtered(seen: Visit) -> None:
    page = seen.page
    check(page, "elicit")
    tab(page, "Probes")
    choose(page, "#set", "elicitable")
    page.locator("#measure").click()
    page.locator("#rows table").wait_for()
    assert page.locator("#counts tbody tr").last.text_content().startswith("all66 → 372of 400307 of 334")
    page.get_by_role("radio", name="broke").check()
    page.locator("#rows .chip.fixed").first.wait_for(state="detached")
    assert set(page.locator("#rows .chip").all_text_contents()) == {"broke"}
    page.get_by_role("radio", name="all").check()
    page.locator("#words input, #words textarea").fill("no such words")
    page.get_by_text("No probe fits").wait_for()


def test_maps_of_the_patch_and_of_attributions(seen: Visit) -> None:
    page = seen.page
    check(page, "small")
    tab(page, "Map")
    page.locator("#map svg").first.wait_for()
    assert page.locator("#map figcaption").all_text_contents() == [
        "q_proj1 flip",
        "up_proj1 flip",
        "down_proj1 flip",
    ]
    choose(page, "#goal", "elicitable")
    page.locator("#rank").click()
    page.locator("#best table").wait_for()
    assert page.locator("#best tbody tr").count() == 20 and page.locator("#map svg image").count() == 3


def test_nobody_waits_for_the_end_of_long_work(browser: "Browser", studio: Studio) -> None:
    with visited(browser, studio) as first, visited(browser, studio) as second:
        tab(first.page, "Probes")
        choose(first.page, "#set", "smol-reworded")  # the largest set
        choose(first.page, "#split", "target")
        check(first.page, "elicit")
        first.page.locator("#measure").click()
        second.page.locator("#compare").click()
        second.page.locator("#compared .reply.base").wait_for()
        assert replies(second.page) == [WRONG]
        assert first.page.locator("#rows table").count() == 0  # it is still at it
        first.page.locator("#rows table").wait_for()


def test_from_failures_to_a_patch(seen: Visit, studio: Studio, failures: Path, tmp_path: Path) -> None:
    page = seen.page
    tab(page, "Search")
    page.get_by_text("Drop a file").first.wait_for()
    page.locator("#start").click()
    page.locator("#status .refusal").wait_for()
    page.locator("#failures input[type=file]").set_input_files(failures)
    page.locator("#failures .file-preview").wait_for()
    page.locator("#budget input[type=number]").fill("40")
    page.keyboard.press("Tab")
    page.locator("#start").click()
    page.locator("#status .running").wait_for()
    page.locator("#download").wait_for()
    page.get_by_text("held-out probes").wait_for()
    assert (
        page.locator("#shown svg").is_visible() and "ended" in page.locator("#shown h3").first.text_content()
    )
    with page.expect_download() as found:
        page.locator("#download").click()
    patch = tmp_path / found.value.suggested_filename
    found.value.save_as(patch)
    assert patch.name == "derivatives.bankai"
    assert read_patch(patch).flips and patch.read_bytes() == (studio.runs / "derivatives.bankai").read_bytes()
    told = subprocess.run(
        [sys.executable, "-m", "bankai", "status", "nano", patch], capture_output=True, text=True
    )
    assert (told.returncode, told.stdout) == (0, "this patch: not applied\n")
    assert sorted(path.name for path in studio.runs.iterdir()) == [
        f"derivatives.{kind}" for kind in ("bankai", "jsonl", "run")
    ]
    page.locator("#keep").click()
    page.locator("#patches").get_by_label("derivatives").check()
    with Library(studio.library) as library:
        assert library.get("derivatives").data == patch.read_bytes()
    tab(page, "Compare")
    page.get_by_role("heading", name="derivatives").wait_for()
    assert len(replies(page)) == 2


def test_hostile_names_and_files_stay_text(browser: "Browser", studio: Studio, tmp_path: Path) -> None:
    with Library(studio.library, writable=True) as library:
        library.put(read_patch_bytes_of(library, "small"), name=HOSTILE, replace=True)
    try:
        with visited(browser, studio) as found:
            page = found.page
            check(page, HOSTILE)
            page.get_by_role("heading", name=HOSTILE).wait_for()
            tab(page, "Search")
            file = tmp_path / "<img src=x onerror=window.hacked=1>.csv"
            file.write_text(f'prompt,answer\n"{HOSTILE.replace(chr(34), chr(39))}",\n')
            page.locator("#failures input[type=file]").set_input_files(file)
            page.locator("#failures .file-preview").wait_for()
            page.locator("#start").click()
            page.locator("#status .refusal").wait_for()
            assert "no answer" in page.locator("#status .refusal").text_content()
            assert page.locator("img[src=x]").count() == 0
    finally:
        with Library(studio.library, writable=True) as library:
            library.remove(HOSTILE)


def read_patch_bytes_of(library: Library, name: str) -> bytes:
    """Its bytes, taken out."""
    data = library.get(name).data
    library.remove(name)
    return data


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_fits_the_screen(browser: "Browser", studio: Studio, width: int, dark: bool) -> None:
    """Wide tables scroll; the page never does."""
    from playwright.sync_api import expect

    with visited(browser, studio, width, dark) as found:
        page = found.page
        check(page, "elicit")
        page.locator(".reply.patched").wait_for()
        for name in ("Compare", "Probes", "Map", "Search"):
            tab(page, name)
            if name == "Probes":
                choose(page, "#set", "bonsai-code")
                expect(page.locator("#split input")).to_have_value("unseen")
                page.locator("#measure").click()
                page.locator("#rows table").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        shades = [int(shade) for shade in re.findall(r"\d+", paper)[:3]]
        assert (max(shades) < 60) if dark else (min(shades) > 240)


@pytest.mark.parametrize(
    "path", ["file=/etc/passwd", "file=../library", "file=library", "file=runs", "file=site/sitecustomize.py"]
)
def test_no_file_of_the_machine_is_served(studio: Studio, path: str) -> None:
    with pytest.raises(HTTPError) as error:
        urlopen(f"{studio.url}gradio_api/{path}")
    assert error.value.code in (403, 404)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}]
)
def test_other_sites_are_refused(studio: Studio, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPError) as error:
        urlopen(Request(studio.url, headers=headers))
    assert error.value.code == 403


def test_a_password_is_asked_for(browser: "Browser", library: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-long-password\n")
    with running(library, tmp_path, "--key-file", str(tmp_path / "key")) as studio:
        with visit(browser, studio.url) as found:
            page = found.page
            page.get_by_label("password").wait_for()
            assert page.locator("#patches").count() == 0
            for word in ("wrong", "a-long-password"):
                page.get_by_label("username").fill("me")
                page.get_by_label("password").fill(word)
                page.get_by_role("button", name="Login").click()
                if word == "wrong":
                    page.get_by_text("Incorrect").wait_for()
            page.get_by_label("elicit").wait_for()
            assert all(address.startswith((studio.url, "data:")) for address in found.asked)
        with pytest.raises(HTTPError) as error:
            urlopen(f"{studio.url}config")
        assert error.value.code == 401


def test_many_patches_are_chosen_from_a_list(browser: "Browser", library: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    shutil.copy(library, many)
    add_patches(many, "nano", [f"patch {number}" for number in range(300)], rows=4)
    (tmp_path / "studio").mkdir()
    with running(many, tmp_path / "studio") as studio, visit(browser, studio.url) as found:
        page = found.page
        page.locator("#patches input").fill("patch 217")
        page.get_by_role("option", name="patch 217").click()
        page.get_by_role("heading", name="patch 217").wait_for()
        assert replies(page)[0] == WRONG


def test_others_are_not_let_in_without_a_password() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "bankai", "studio", "nano", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2 and "--key-file" in told.stderr


def test_the_end(studio: Studio) -> None:
    """Last: a signal ends the process, nothing is left of it, and it spoke with nobody else."""
    studio.process.send_signal(signal.SIGTERM)
    assert studio.process.wait(30) == 0
    assert not list(studio.runs.parent.glob("bankai-studio-*"))
    talked = studio.watched.read_text().splitlines()
    assert [line for line in talked if not LOOPBACK.fullmatch(line)] == []
