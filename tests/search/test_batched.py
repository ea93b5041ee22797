"""Many candidates measured at once against flipping the bits and running in full, one candidate at a time."""

import pytest
import torch
from hypothesis import given, settings
from wide import CANDIDATES, CONTROLS, LAYERS, SHAPES, TARGETS, name

from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import answer_hidden
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import batched
from bankai.search.batched import final_hidden, first_layer
from bankai.search.streams import Stream

# The same sums in another order (rank-one corrections, products of other shapes) in float32. Measured here: at most
# 3e-6, where a row or a group moves the log-probabilities by 0.35 in the median; 1e-4 is room for other machines.
TOLERANCE = 1e-4
LEVELS = {"row": (None, None), "group": (1, None), "bit": (0, 100)}


class Engine:
    """A model, its batches and their streams."""

    def __init__(self, gguf, dense, trees):
        self.model, tokenizer = load(gguf, dense=dense)
        prepared = prepare(tokenizer, TARGETS + CONTROLS, batch_tokens=60)
        self.batches = (prepared if trees else prepared.as_sequences()).batches
        assert all((batch.sight is not None) == trees for batch in self.batches)
        decoder = Decoder(self.model)
        self.streams = [Stream(decoder, batch) for batch in self.batches]
        assert len(self.batches) > 1

    def refresh(self):
        for stream in self.streams:
            stream.refresh(0)

    @torch.no_grad()
    def exact(self, flips):
        """Log-probabilities [positions, vocabulary] with the flips in the bits."""
        flip(self.model, flips)
        hidden = torch.cat([answer_hidden(self.model, batch) for batch in self.batches])
        flip(self.model, flips)
        return self.model.lm_head(hidden).log_softmax(1)

    @torch.no_grad()
    def found(self, candidates):
        """[candidates, positions, vocabulary]."""
        columns = []
        for stream in self.streams:
            column = torch.full((len(candidates), len(stream.targets), 256), torch.nan)
            for some, hidden in final_hidden(stream, candidates):
                assert column[some].isnan().all()  # every candidate has one turn
                column[some] = hidden
            columns.append(column)
        return self.streams[0].decoder.logits(torch.cat(columns, 1)).log_softmax(-1)

    def check(self, candidates):
        exact = torch.stack([self.exact(candidate) for candidate in candidates])
        found = self.found(candidates)
        torch.testing.assert_close(found, exact, atol=TOLERANCE, rtol=0)
        return found


@pytest.fixture(
    scope="module",
    params=[(False, False), (True, False), (True, True)],
    ids=["packed", "dense", "dense trees"],
)
def engine(request, wide_gguf):
    return Engine(wide_gguf, *request.param)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("path", SHAPES)
def test_single_flips(engine, path, level):
    rows = (0, 17, SHAPES[path][0] - 1)
    candidates = [
        frozenset([Flip(name(layer, path), row, *LEVELS[level])]) for layer in range(LAYERS) for row in rows
    ]
    found = engine.check(candidates)
    moved = (found - engine.exact(())).abs().amax((1, 2))
    assert (moved > 10 * TOLERANCE).float().mean() > (0.9 if level != "bit" else 0.3)


def of(layer, *places):
    """Flips of one layer from ("gate_proj", row, group, bit)."""
    return frozenset(Flip(name(layer, path), *place) for path, *place in places)


GATE, UP, DOWN = "gate_proj", "up_proj", "down_proj"
SETS = {
    "nothing": frozenset(),
    "rows of gate": of(1, (GATE, 3), (GATE, 4), (GATE, 380)),
    "one row of gate and up": of(0, (GATE, 7), (UP, 7)),
    "one row of gate and up in parts": of(2, (GATE, 7, 1), (UP, 7, 0, 5), (UP, 7, 1)),
    "one row and its parts": of(1, (GATE, 7), (GATE, 7, 1), (GATE, 7, 1, 3), (UP, 7, 0), (UP, 7, 0, 3)),
    "a row and all its groups": of(1, (UP, 9), (UP, 9, 0), (UP, 9, 1)),
    "rows of down": of(1, (DOWN, 0), (DOWN, 255)),
    "down with gate": of(1, (DOWN, 5), (DOWN, 6), (GATE, 5), (GATE, 90)),
    "down with gate and up, last layer": of(2, (DOWN, 5), (GATE, 5), (UP, 5), (UP, 6, 1)),
    "parts of down": of(2, (DOWN, 5, 1), (DOWN, 6, 2, 127)),
    "parts of down with the rest": of(0, (DOWN, 5, 1), (DOWN, 5), (DOWN, 8), (GATE, 5), (UP, 5, 1), (UP, 6)),
    "attention": of(1, ("q_proj", 3), ("k_proj", 3), ("v_proj", 3), ("o_proj", 3)),
    "attention in parts": of(0, ("q_proj", 3, 1), ("k_proj", 3, 0, 9), ("v_proj", 3, 1), ("o_proj", 3, 1, 1)),
    "attention and MLP": of(1, ("q_proj", 3), ("o_proj", 9), (GATE, 3), (UP, 3), (DOWN, 3), (DOWN, 4, 1)),
    "layers": of(0, (GATE, 1), (DOWN, 1)) | of(1, (UP, 1), (DOWN, 2, 0)) | of(2, (GATE, 1, 1), (DOWN, 1)),
    "all over": of(0, (UP, 2))
    | of(1, ("q_proj", 2), (GATE, 2))
    | of(2, ("v_proj", 2, 1), (DOWN, 2), (UP, 2, 0, 2)),
    "top only": of(2, ("k_proj", 8), ("v_proj", 9)),
}


@pytest.mark.parametrize("candidate", SETS.values(), ids=SETS)
def test_sets_of_flips(engine, candidate):
    engine.check([candidate])


def test_candidates_keep_their_places(engine):
    candidates = list(SETS.values())
    together = engine.check(candidates)
    backwards = engine.check(candidates[::-1])
    torch.testing.assert_close(together, backwards.flip(0), atol=TOLERANCE, rtol=0)
    twice = engine.found([candidates[1], candidates[0], candidates[1]])
    torch.testing.assert_close(twice[0], twice[2], atol=TOLERANCE, rtol=0)


def test_many_rows_of_a_layer(engine):
    rows = frozenset(Flip(name(1, path), row) for path in (GATE, UP, DOWN) for row in range(0, 256, 2))
    engine.check([rows, rows | SETS["all over"]])


@pytest.mark.parametrize("tokens", [1, 200, 500])
def test_chunks_do_not_matter(engine, monkeypatch, tokens):
    candidates = list(SETS.values()) * 2
    whole = engine.found(candidates)
    monkeypatch.setattr(batched, "CHUNK_TOKENS", tokens)
    torch.testing.assert_close(engine.found(candidates), whole, atol=TOLERANCE, rtol=0)
    for stream in engine.streams:
        sizes = [len(some) for some, _ in final_hidden(stream, candidates)]
        assert sum(sizes) == len(candidates) and max(sizes) <= max(1, tokens // stream.tokens)


@settings(max_examples=20)
@given(candidates=CANDIDATES)
def test_any_candidates(engine, candidates):
    engine.check(candidates)


def test_on_top_of_other_flips(engine):
    state = SETS["all over"] | SETS["attention"]
    flip(engine.model, state)
    engine.refresh()
    found = engine.check([*SETS.values(), state])
    flip(engine.model, state)
    engine.refresh()
    torch.testing.assert_close(found[-1], engine.exact(()), atol=TOLERANCE, rtol=0)  # each flip is off again


def test_no_candidates_and_no_trace(engine):
    before = engine.exact(())
    assert list(final_hidden(engine.streams[0], [])) == []
    engine.found(list(SETS.values()))
    assert not any(getattr(module, "versions", None) for module in engine.model.modules())
    assert torch.equal(engine.exact(()), before)


def test_first_layer():
    assert first_layer(frozenset(), LAYERS) == LAYERS
    assert first_layer(SETS["layers"], LAYERS) == 0
    assert first_layer(of(2, (GATE, 1)) | of(1, ("q_proj", 1)), LAYERS) == 1
