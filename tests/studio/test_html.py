"""What is shown: hostile text stays text, and every value is there."""

from html.parser import HTMLParser

import pytest

from bankai.evaluation.report import Counts
from bankai.studio import html
from bankai.studio.compare import Compared, Parting, Token
from bankai.studio.maps import attribute, patch_places
from bankai.studio.probes import Row
from bankai.studio.runs import Run, Step
from bankai.studio.searches import Status
from bankai.studio.worker import News

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "${alert(1)}{{value}}",
    "\u202egnp.exe\x00\x1b[31m",
    "</details></table></section>",
)


class Seen(HTMLParser):
    """Text, tags and attributes of a piece of markup; every tag is closed in its order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.text, self.tags, self.names, self.open = "", set(), set(), []
        self.feed(markup)
        self.close()
        assert not self.open, self.open

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag not in ("use", "path", "img", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def everything(text):
    """All views, with this text wherever text can come from a file, a model or a visitor."""
    token = Token(text, -0.5, -2.0, True)
    likeliest = ((text, 0.5), ("b", 0.25))
    row = Row(text, text, text, text, -1.0, 2.0, "fixed")
    counts = Counts.of([True, False, False], [True, True, False])
    run = Run(
        text, 3, 4, 5, 30.0, (Step(0.0, 0.0, 0, None), Step(9.0, 0.5, 2, 1)), text, None, {"heldout": counts}
    )
    status = Status(text, News(what=text, done=1, total=2), [text])
    failed = Status(text, News(error=text, ended=True))
    return [
        html.refusal(text),
        html.nothing(text),
        html.header(text, [text]),
        html.compared(Compared((token,), (token, token), Parting(text, likeliest, likeliest)), [text]),
        html.listed([row]),
        html.run(run),
        html.status(status),
        html.status(failed),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    plain = "".join(one if one.isprintable() else "\ufffd" for one in text)
    for markup in everything(text):
        seen = Seen(markup)
        assert plain in seen.text, markup
        assert not seen.tags & {"script", "img"} and not any(name.startswith("on") for name in seen.names)
        assert "${" not in markup and "{{" not in markup  # which templates of the page would read


def test_blanks_and_line_ends_are_to_be_seen():
    tokens = (Token(" 0", -0.1, -3.0, True), Token("\n", -0.1, -0.1, False), Token("  ", -1.0, -0.1, False))
    seen = html.compared(Compared(tokens, tokens, Parting("", ((" ", 0.5),), (("\n", 0.5),))), ["a", "b"])
    assert "a + b" in seen and "at the beginning" in seen and "↵" in seen and "␣␣" in seen
    assert 'class="token down new" style="--d:97%" title="base 90.5%, patched 5.0%"' in seen


def test_many_rows_are_cut_and_the_rest_is_told():
    rows = [Row(str(at), "c", f"prompt {at}", "a", 1.0, 1.0, "stayed solved") for at in range(250)]
    seen = html.listed(rows)
    assert "prompt 199" in seen and "prompt 200" not in seen and "200 of 250" in seen
    assert "No probe" in html.listed([])


def test_maps_show_flips_and_values(shared):
    from bankai.probes import ProbeSet, load_probe_set

    whole = load_probe_set("elicitable")
    few = ProbeSet("few", [*whole.split("target")[:4], *whole.split("control")[:4]])
    seen = Seen(html.mapped(patch_places(shared, ["elicit"])))
    assert "svg" in seen.tags and "gate_proj" in seen.text and "9 flips" in seen.text
    found = attribute(shared, few, ["elicit"])
    seen = Seen(html.mapped(found.panels))
    assert "image" in seen.tags and "estimated change" in seen.text
    best = html.ranked(found.top, found.panels)
    assert best.count("<tr>") == len(found.top) + 1
    assert "switch a patch on" in html.mapped(())
