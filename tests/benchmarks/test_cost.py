"""The cost model: its arithmetic by hand, its counts against what torch counts in a real model."""

import pytest
import torch
from benchmarks.cost import Machine, Model, Work, fitted
from benchmarks.scale import encoded
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bankai.checkpoint.synth import synth_size, synthesize
from bankai.model import load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import Space
from bankai.search.objective import GAINS, LOSSES, Objective
from bankai.search.parts import Part
from bankai.search.ranking import rank

LAYER = 2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256  # of `tiny`: q and o, k and v, the MLP
HEAD = 1024 * 256
TOKENS, READ = 4 * 32, 4 * 4
NOTHING = frozenset()


def test_weights_are_counted_from_the_shape():
    tiny = Model.of("tiny")
    assert (tiny.layers, tiny.mlp, tiny.head) == ((LAYER, LAYER), 3 * 512 * 256, HEAD)
    assert tiny.stored == 2 * LAYER + 2 * HEAD  # not tied
    assert (tiny.rows, tiny.groups) == (2 * (2 * 512 + 256), 2 * 3 * 512 * 2)
    assert tiny.packed_bytes == tiny.stored * 18 / 128
    assert tiny.cached(10, 4) == 2 * 2 * 256 * 10 * 4  # layers, tensors each


@pytest.mark.parametrize(
    ("shape", "layers", "rows"), [("bonsai-8b", 36, 1_032_192), ("bonsai-27b", 64, 2_555_904)]
)
def test_large_shapes_are_the_published_ones(shape, layers, rows):
    model = Model.of(shape)
    assert (len(model.layers), model.rows) == (layers, rows)
    assert 0.98 < model.packed_bytes / synth_size(shape) < 1  # the rest: norms, tokenizer


def test_steps_by_hand():
    tiny = Model.of("tiny")
    assert tiny.refreshing(10) == Work(2 * 2 * LAYER * 10, 2 * LAYER, 2)
    assert tiny.plainly(10, 3) == Work(2 * (2 * LAYER * 10 + HEAD * 3), 2 * LAYER + HEAD, 2)
    assert tiny.measuring(10, 3, 1) == tiny.measuring(10, 3, 2) == Work(2 * HEAD * 3, HEAD)
    suffix = 2 * ((LAYER - tiny.mlp) * 10 + tiny.mlp * 3 + HEAD * 3)
    assert tiny.measuring(10, 3, 0, 4) == Work(4 * suffix, LAYER + HEAD, 1)
    assert tiny.measuring(10, 3, 0, 4, texts=True).unpacked == LAYER + 4 * HEAD
    assert tiny.attributing(10, 3, texts=True) == Work(
        4 * (2 * LAYER * 10 + HEAD * 3), 2 * (2 * LAYER + HEAD), 4, 3 * 1024
    )


def test_seconds_add_up_and_a_fit_gives_back_its_points():
    assert Machine("", 10, 4, 2, 0.5).seconds(Work(20, 8, 3, 6)) == 2 + 2 + 1.5 + 3
    tiny = Model.of("tiny")
    true = Machine("", 3e9, 5e8)
    points = [(tokens, read, true.seconds(tiny.plainly(tokens, read))) for tokens, read in ((8, 1), (99, 9))]
    found = fitted("", tiny, points)
    assert (found.flops, found.unpack) == pytest.approx((3e9, 5e8))


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    model = load(synthesize(tmp_path_factory.mktemp("cost") / "tiny.gguf", "tiny"), dense=True)[0]
    decoder = Decoder(model)
    return Part(decoder, encoded(4, 32, 4, decoder.vocabulary), [], [])


class Counting(TorchDispatchMode):
    """Adds up the operations of matrix products, by torch's own formulas."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def counted(work):
    with Counting() as counting:
        work()
    return counting.total


@pytest.mark.parametrize("layer", [0, 1])
def test_measurements_cost_what_torch_counts(part, layer):
    candidate = [frozenset([Flip(f"model.layers.{layer}.mlp.up_proj", 7)])]
    part.read(candidate)  # the stream is cached
    expected = Model.of("tiny").measuring(TOKENS, READ, layer).flops
    assert counted(lambda: part.read(candidate)) == pytest.approx(expected, rel=0.05)  # attention, the row


def test_forwards_and_attribution_cost_what_torch_counts(part):
    tiny = Model.of("tiny")
    assert counted(part.read_plainly) == pytest.approx(tiny.plainly(TOKENS, READ).flops, rel=0.05)
    assert counted(lambda: part.refresh(0)) == pytest.approx(tiny.refreshing(TOKENS).flops, rel=0.05)
    now = part.read([NOTHING]).at(0)
    objective = Objective(now, torch.zeros(4, dtype=torch.long), GAINS["mean"], LOSSES["score"], 0.0)
    found = counted(lambda: rank(part.decoder, [part], objective, now, Space(), top=1))
    assert found == pytest.approx(tiny.attributing(TOKENS, READ).flops, rel=0.05)
