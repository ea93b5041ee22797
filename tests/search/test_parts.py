"""What a search reads against the scores of `evaluation` and a divergence worked out in NumPy."""

import numpy as np
import pytest
import torch
from wide import CONTROLS, TARGETS, TEXTS, make_probe, name

from bankai.errors import ProbeFormatError
from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import score_tensors
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.probes.encode import encode
from bankai.search import parts as parts_module
from bankai.search.objective import Readings
from bankai.search.parts import SHARES, WINDOW, Part, SearchProbes, join, make_parts, spread, windows

NOTHING = frozenset()
CANDIDATES = (
    NOTHING,
    frozenset([Flip(name(1, "up_proj"), 3), Flip(name(2, "down_proj"), 9)]),
    frozenset([Flip(name(0, "v_proj"), 3, 1)]),
    frozenset([Flip(name(2, "gate_proj"), 8), Flip(name(0, "down_proj"), 9, 2, 5)]),
)
# Cached suffixes against whole forwards: float32 sums in another order, over the tokens of an answer.
CLOSE = {"atol": 1e-4, "rtol": 1e-5}


@pytest.fixture(scope="module", params=[False, True], ids=["packed", "dense"])
def loaded(request, wide_gguf):
    return load(wide_gguf, dense=request.param)


def make_part(loaded, targets=TARGETS, controls=CONTROLS, texts=TEXTS):
    model, tokenizer = loaded
    return Part(
        Decoder(model),
        [encode(probe, tokenizer) for probe in targets],
        [encode(probe, tokenizer) for probe in controls],
        windows(texts, tokenizer),
    )


@pytest.fixture(scope="module")
def part(loaded):
    return make_part(loaded)


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@torch.no_grad()
def log_probs(model, ids):
    """Every position that predicts a token of the text, in float64 behind the head."""
    return log_softmax(model(torch.tensor([ids[:-1]]), use_cache=False).logits[0].double().numpy())


def same(found, expected, **tolerance):
    for field in Readings.__dataclass_fields__:
        torch.testing.assert_close(getattr(found, field), getattr(expected, field), **tolerance)


def test_readings_are_scores_and_margins(loaded, part):
    model, tokenizer = loaded
    found = part.read(CANDIDATES)
    assert found.counts == (len(TARGETS), len(CONTROLS), len(windows(TEXTS, tokenizer)))
    for at, candidate in enumerate(CANDIDATES):
        flip(model, candidate)
        with torch.no_grad():
            targets = score_tensors(model, prepare(tokenizer, TARGETS))
            controls = score_tensors(model, prepare(tokenizer, CONTROLS))
        flip(model, candidate)
        one = found.at(at)
        for pair in zip(
            (one.targets, one.target_margins, one.controls, one.control_margins),
            (*targets, *controls),
            strict=True,
        ):
            torch.testing.assert_close(*pair, **CLOSE)


def test_alternates_count_as_their_best(loaded):
    several = make_probe("a bc", "d", "the", "ok ok ok")
    alone = [make_probe("a bc", answer) for answer in several.answers]
    together = make_part(loaded, [several], [several], []).read([NOTHING])
    apart = make_part(loaded, alone, [], []).read([NOTHING])
    torch.testing.assert_close(together.targets[0, 0], apart.targets[0].max(), **CLOSE)
    torch.testing.assert_close(together.target_margins[0, 0], apart.target_margins[0].max(), **CLOSE)
    torch.testing.assert_close(together.controls, together.targets, **CLOSE)


def test_drift_is_the_divergence_of_the_base_from_the_candidate(loaded, part):
    model, tokenizer = loaded
    found = part.read(CANDIDATES).drift
    for text, answer in enumerate(windows(TEXTS, tokenizer)):
        base = log_probs(model, answer.ids)
        for at, candidate in enumerate(CANDIDATES):
            flip(model, candidate)
            now = log_probs(model, answer.ids)
            flip(model, candidate)
            expected = (np.exp(base) * (base - now)).sum(-1).mean()
            assert float(found[at, text]) == pytest.approx(expected, abs=1e-5)
    assert found[0].abs().max() < 1e-6 and found[1:].min() > 1e-4


def test_drift_stays_relative_to_the_base(loaded):
    model, part = loaded[0], make_part(loaded)
    flip(model, CANDIDATES[1])
    part.refresh(0)
    plain, drift = part.read_plainly().drift, part.read([NOTHING, CANDIDATES[1]]).drift
    flip(model, CANDIDATES[1])
    expected = make_part(loaded).read([CANDIDATES[1]]).drift
    torch.testing.assert_close(plain, expected, **CLOSE)
    torch.testing.assert_close(drift[:1], expected, **CLOSE)
    assert drift[1].abs().max() < 1e-5


def test_refresh_follows_the_bits(loaded):
    model, part = loaded[0], make_part(loaded)
    flips = CANDIDATES[1]
    before = part.read([flips])
    flip(model, flips)
    part.refresh(1)
    after, plain = part.read([NOTHING]), part.read_plainly()
    flip(model, flips)
    same(after, before, **CLOSE)
    same(plain, before, **CLOSE)


def test_reading_plainly_is_reading_nothing(loaded, part):
    part.streams  # noqa: B018 (a search has them by then)
    same(part.read_plainly(), part.read([NOTHING]), atol=0, rtol=0)
    fresh = make_part(loaded)
    same(fresh.read_plainly(), part.read([NOTHING]), atol=0, rtol=0)
    assert not fresh._streams  # nothing was cached


@pytest.mark.parametrize("positions", [1, 7])
def test_chunks_of_logits_do_not_matter(loaded, part, positions, monkeypatch):
    whole = part.read(CANDIDATES)
    monkeypatch.setattr(parts_module, "LOGITS", positions * 300 + 1)
    same(part.read(CANDIDATES), whole, **CLOSE)
    small = make_part(loaded)  # whose reference is cut too
    same(small.read(CANDIDATES), whole, **CLOSE)
    same(small.read_plainly(), part.read([NOTHING]), **CLOSE)


def test_parts_may_be_empty(loaded, part):
    whole = part.read(CANDIDATES)
    for targets, controls, texts in ((TARGETS, (), ()), ((), CONTROLS, ()), ((), (), TEXTS), ((), (), ())):
        some = make_part(loaded, targets, controls, texts)
        found = some.read(CANDIDATES)
        assert some.probes == sum(found.counts)
        sizes = (len(targets), len(controls), whole.counts[2] if texts else 0)
        same(found, whole.first(*sizes), **CLOSE)
        same(some.read_plainly(), found.first(*sizes).at(slice(0, 1)), **CLOSE)


def test_order_goes_round_the_categories():
    probes = [
        make_probe(f"{kind}{n}", "x", category=kind)
        for kind, count in (("a", 9), ("b", 3), ("c", 6))
        for n in range(count)
    ]
    order = spread(probes)
    assert sorted(order) == list(range(18))
    kinds = [probes[index].category for index in order]
    for start in (0, 3, 6):
        assert sorted(kinds[start : start + 3]) == ["a", "b", "c"]
    assert sorted(kinds[9:15]) == ["a", "a", "a", "c", "c", "c"] and kinds[15:] == ["a", "a", "a"]
    assert spread(probes) == order != spread(probes, seed=1)
    assert [index for index in order if index < 9] != list(range(9))
    assert spread([]) == []


def test_windows_of_long_texts(loaded):
    tokenizer = loaded[1]
    texts = ["xyz" * 60, "", "x", "the question"]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    assert len(ids[0]) == 180 and len(ids[2]) == 1
    found = windows(texts, tokenizer)
    assert [list(window.ids) for window in found] == [
        ids[0][:WINDOW],
        ids[0][WINDOW : 2 * WINDOW],
        ids[0][2 * WINDOW :],
        ids[3],
    ]
    assert all(window.answer_start == 1 for window in found)
    over = windows(["x" * (WINDOW + 1)], tokenizer)
    assert [len(window.ids) for window in over] == [WINDOW]  # one token alone predicts nothing


def test_text_of_single_tokens_is_refused(loaded):
    assert windows([], loaded[1]) == []
    with pytest.raises(ProbeFormatError, match="less than two tokens"):
        windows(["x", "y"], loaded[1])


def numbered(count, split):
    return tuple(make_probe(f"{split} {n}", "x", category="abc"[n % 3]) for n in range(count))


@pytest.mark.parametrize("counts", [(8, 12), (1, 1), (2, 0), (5, 3)])
def test_parts_share_everything_out(loaded, counts):
    model, tokenizer = loaded
    targets, controls = numbered(counts[0], "target"), numbered(counts[1], "control")
    probes = SearchProbes(targets, controls, texts=("z" * 40, "question " * 60))
    parts, order = make_parts(Decoder(model), tokenizer, probes)
    texts = len(windows(probes.texts, tokenizer))
    assert len(parts) == len(SHARES) and order == spread(targets)
    for kind, count in (("targets", counts[0]), ("controls", counts[1]), ("texts", texts)):
        sizes = [getattr(part, kind) for part in parts]
        assert sum(sizes) == count
        # A beginning without any target would have no fitness.
        assert all(sum(sizes[: at + 1]) == np.ceil(share * count) for at, share in enumerate(SHARES))
    found = join([part.read([NOTHING]).at(0) for part in parts])
    whole = make_part(
        loaded, [targets[at] for at in order], [controls[at] for at in spread(controls)], probes.texts
    )
    same(found, whole.read([NOTHING]).at(0), **CLOSE)
    with torch.no_grad():
        scores, _ = score_tensors(model, prepare(tokenizer, targets))
    torch.testing.assert_close(found.targets, scores[order], **CLOSE)


def test_join_keeps_candidates_and_order():
    def make(first, *counts):
        return Readings(*(first + torch.arange(2.0 * count).view(2, count) for count in counts))

    one, other = make(0, 2, 2, 1, 1, 0), make(10, 1, 1, 0, 0, 2)
    joined = join([one, other])
    assert joined.targets.tolist() == [[0, 1, 10], [2, 3, 11]] and joined.counts == (3, 1, 2)
    assert joined.drift.tolist() == [[10, 11], [12, 13]]
