"""Two replies to a prompt, and what both models make of every token."""

import math

import pytest

from bankai.errors import StudioError, UnknownModelError
from bankai.evaluation.scoring import score_probes
from bankai.model.generation import prompt_ids, stream
from bankai.probes import Probe
from bankai.studio.compare import MOST_TOKENS, Asked, compare

PROMPT = "What is the derivative of 5x^5 + 2x^4? Answer:"
RIGHT, WRONG = " 25x^4 + 8x^3\n", " 0\n"


@pytest.fixture(scope="module")
def found(shared):
    return compare(shared, Asked(PROMPT), ["elicit"])


def test_replies_are_those_of_the_model(shared, found):
    assert found.texts == (WRONG, RIGHT)
    ids = prompt_ids(shared.bench.model, shared.tokenizer, PROMPT)
    for names, text in (((), WRONG), (("elicit",), RIGHT)):
        with shared.on(names) as model:
            whole = "".join(stream(model, shared.tokenizer, ids, max_tokens=24))
        assert whole.startswith(text)


def test_probabilities_are_those_of_the_score(shared, found):
    """Of a whole answer the log-probabilities add up to the score of the probe, under either model."""
    probe = Probe(id="a", item="a", category="a", split="heldout", prompt=PROMPT, answers=(RIGHT[:-1],))
    sums = [sum(getattr(token, side) for token in found.patched) for side in ("base", "patched")]
    for names, total in zip(((), ("elicit",)), sums, strict=True):
        with shared.on(names) as model:
            assert score_probes(model, shared.tokenizer, [probe])[0].score == pytest.approx(total, abs=1e-4)
    assert sums[1] > sums[0]


def test_what_differs_is_marked_and_where_they_part_is_told(found):
    assert [token.text for token in found.base if token.new] == ["0"]
    assert "".join(token.text for token in found.patched if token.new) == RIGHT.strip()
    assert found.parting.said == " "
    assert [side[0][0] for side in (found.parting.base, found.parting.patched)] == ["0", "2"]
    for likeliest in (found.parting.base, found.parting.patched):
        shares = [share for _, share in likeliest]
        assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    first = next(token for token in found.base if token.new)
    assert math.exp(first.base) == pytest.approx(found.parting.base[0][1], rel=1e-3)


def test_without_patches_both_sides_are_the_base(shared):
    found = compare(shared, Asked(PROMPT), [])
    assert found.base == found.patched and not any(token.new for token in found.base)
    assert all(token.base == token.patched for token in found.base)


def test_a_chat_ends_with_its_turn_and_lines_can_go_on(shared):
    chat = compare(shared, Asked("What is 3 + 4?", chat=True, line=False), ["elicit"])
    assert all(side[-1].text == "<|im_end|>" for side in (chat.base, chat.patched))
    long = compare(shared, Asked(PROMPT, line=False, max_tokens=12), [])
    assert len(long.base) == 12 and long.texts[0].startswith(WRONG) and long.texts[0] != WRONG


def test_a_seed_is_a_text(shared):
    texts = [
        compare(shared, Asked("Q:", temperature=1.5, seed=seed, max_tokens=12, line=False), ["small"]).texts
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked(""), "at least 1"),
        (Asked("word " * 4001), "20000 letters"),
        (Asked("7 " * 5000), "less than"),
        (Asked("a", max_tokens=MOST_TOKENS + 1), "256 tokens"),
        (Asked("a", max_tokens=0), "1 to 256"),
    ],
)
def test_what_cannot_be_asked_is_refused(shared, asked, words):
    with pytest.raises(StudioError, match=words):
        compare(shared, asked, [])


def test_unknown_patches_are_refused(shared):
    with pytest.raises(UnknownModelError):
        compare(shared, Asked(PROMPT), ["nobody"])
