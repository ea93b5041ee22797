"""The commands of the tutorial and of the guides, run as written; what they print is what the pages show.

A page that no longer tells the truth is written anew by `python docs/run_page.py`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError

import pytest
from docs.run_page import DOCS, PAGES, numbers_hidden, run_page

SMALL = """\
A program, and a file that it reads.

```python title="add.py"
while line := input("> "):
    print("sum", sum(map(int, line.split())))
```

```sh
echo 1 2 > numbers
cat numbers; echo 1.5 s >&2
```

```text
what it printed last year
```

```console title="another terminal"
$ python add.py
> 1 2
> 3 4
an old answer
```

```sh title="not run"
exit 3
```
"""


def test_what_a_page_prints_is_put_under_its_commands(tmp_path: Path) -> None:
    page = run_page(SMALL, tmp_path)
    assert "```text\n1 2\n```\n" in page and "last year" not in page
    assert "$ python add.py\n> 1 2\nsum 3\n> 3 4\nsum 7\n```" in page and "an old answer" not in page
    assert run_page(page, tmp_path) == page


@pytest.mark.parametrize("old", ["cat numbers", "python add.py"])
def test_a_command_that_fails_is_told(tmp_path: Path, old: str) -> None:
    with pytest.raises(CalledProcessError):
        run_page(SMALL.replace(old, "false"), tmp_path)


def test_only_what_differs_between_machines_is_not_compared() -> None:
    page = "```sh\nx 1\n```\n\n```text\n{}\n```\n"
    same = ["took 59 s  for 3", "took 1 min 2 s for  40.5", "took 1 h 0 min for 1e-05"]
    assert len({numbers_hidden(page.format(line)) for line in same}) == 1
    keys = ["by key 6A88D231007ADBA4", "by key 843287E783026E82"]
    assert len({numbers_hidden(page.format(line)) for line in keys}) == 1
    assert numbers_hidden(page.format("3 fixed")) != numbers_hidden(page.format("3 broke"))
    assert numbers_hidden(page.format("3")) != numbers_hidden(page.replace("x 1", "x 2").format("3"))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Every page with what its commands print now; all in one folder, as the guides go on where the tutorial ends."""
    folder = tmp_path_factory.mktemp("reader")
    return {page: run_page((DOCS / page).read_text(), folder) for page in PAGES}


@pytest.mark.engines
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_its_commands_print(printed: Mapping[str, str], page: str) -> None:
    assert numbers_hidden(printed[page]) == numbers_hidden((DOCS / page).read_text())


@pytest.mark.engines
def test_the_tutorial_ends_well(printed: Mapping[str, str]) -> None:
    """Its figures may differ from machine to machine, but not what they are there to show."""
    page = printed["tutorial.md"]
    failing, fixed = map(int, re.findall(r"^all .* (\d+) of (\d+) +0 of 0", page, re.MULTILINE)[0][::-1])
    assert failing >= 30 and fixed >= 0.8 * failing
    assert re.search(r"words +(\d+) +\d+ +\d+ +0 of 0", page)
    answers = re.findall(r"^> What is the derivative of 5x\^5 \+ 2x\^4\? Answer:\n(.*)", page, re.MULTILINE)
    assert answers == ["0", "25x^4 + 8x^3", "0"]
