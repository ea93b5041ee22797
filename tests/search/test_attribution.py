"""Attribution against finite differences: each estimate is the slope along the exact change of its activation.

Everything here is float64, norms too, so a central difference over 2e-4 is right to about 1e-7.
"""

import pytest
import torch
from torch.nn.functional import silu
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from wide import CONTROLS, LAYERS, SHAPES, TARGETS, name

from bankai.evaluation.batches import prepare
from bankai.evaluation.scoring import answer_hidden
from bankai.model import flip, load
from bankai.model.decoder import Decoder
from bankai.patch import Flip
from bankai.search import attribution
from bankai.search.attribution import stream_effects
from bankai.search.streams import Stream

STEP = 1e-4
PLACES = {"row": [()], "group": [(0,), (1,)], "bit": [(0, 0), (0, 127), (1, 64)]}


class Norm(Qwen3RMSNorm):
    """transformers' own goes through float32 whatever the model is in: too coarse for differences of 1e-4."""

    def forward(self, x):
        return self.weight * x * (x.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()


class Tower:
    """A float64 model, one batch of answers, and the log-probability of each sequence's answer tokens."""

    def __init__(self, gguf):
        self.model, tokenizer = load(gguf, dense=True, dtype=torch.float64)
        for module in self.model.modules():
            if isinstance(module, Qwen3RMSNorm):
                module.__class__ = Norm
        self.batch = prepare(tokenizer, TARGETS + CONTROLS).as_sequences().batches[0]
        self.stream = Stream(Decoder(self.model), self.batch)
        assert self.stream.sequences > 5

    def sums(self, logits):
        """[positions, vocabulary] to [sequences]."""
        right = logits.log_softmax(1).gather(1, self.batch.targets)[:, 0]
        return right.new_zeros(len(self.batch.ids)).index_add(0, self.batch.rows, right)

    def effects(self, granularity="row", projections=tuple(SHAPES), layers=range(LAYERS)):
        """Per tensor [sequences, rows, places], whatever the blocks."""
        found: dict[str, list] = {}
        stream_effects(
            self.stream,
            lambda logits: self.sums(logits).sum(),
            lambda effects: found.setdefault(effects.tensor, []).append(effects),
            layers=layers,
            projections=projections,
            granularity=granularity,
        )
        for blocks in found.values():
            starts = [block.first_row for block in blocks]
            ends = [block.first_row + block.values.shape[1] for block in blocks]
            assert starts == [0, *ends[:-1]]
        return {name: torch.cat([block.values for block in blocks], 1) for name, blocks in found.items()}

    @torch.no_grad()
    def slope(self, module, nudge):
        """Slope of each sequence's sum when `nudge(inputs, outputs)` is added to a module's outputs in small part."""
        sums = []
        for step in (STEP, -STEP):
            handle = module.register_forward_hook(lambda m, x, y, step=step: y + step * nudge(x[0], y))
            sums.append(self.sums(self.model.lm_head(answer_hidden(self.model, self.batch))))
            handle.remove()
        return (sums[0] - sums[1]) / (2 * STEP)


@pytest.fixture(scope="module")
def tower(wide_gguf):
    return Tower(wide_gguf)


@pytest.fixture(scope="module")
def effects(tower):
    return {granularity: tower.effects(granularity) for granularity in PLACES}


def only(y, row, change):
    """Zeros but for one row: [..., rows]."""
    return torch.zeros_like(y).index_copy(-1, torch.tensor([row]), change[..., None])


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("path", [path for path in SHAPES if "gate" not in path])
def test_a_row_is_followed_at_its_output(tower, effects, layer, path):
    values = effects["row"][name(layer, path)]
    assert values.shape == (tower.stream.sequences, SHAPES[path][0], 1)
    module = tower.model.get_submodule(name(layer, path))
    for row in (0, 17, SHAPES[path][0] - 1):
        close(values[:, row, 0], tower.slope(module, lambda x, y, row=row: only(y, row, -2 * y[..., row])))
    assert (values[:, 17].abs() > 1e-4).any()


@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_row_of_gate_is_followed_at_the_inner_activation(tower, effects, layer):
    values, mlp = effects["row"][name(layer, "gate_proj")], tower.model.model.layers[layer].mlp
    for row in (0, 17, 383):

        def change(x, y, row=row):
            # The MLP's output is linear in h, so a change of h may be added behind down_proj.
            gate, up = mlp.gate_proj.matrix.product(x)[..., row], mlp.up_proj.matrix.product(x)[..., row]
            return ((silu(-gate) - silu(gate)) * up)[..., None] * mlp.down_proj.matrix.expand()[:, row]

        close(values[:, row, 0], tower.slope(mlp, change))


@pytest.mark.parametrize("granularity", ["group", "bit"])
@pytest.mark.parametrize("path", SHAPES)
def test_a_group_or_bit_is_followed_at_the_output_of_its_row(tower, effects, path, granularity):
    rows, columns = SHAPES[path]
    for layer, row in ((0, 5), (2, rows - 1)):
        module = tower.model.get_submodule(name(layer, path))
        values = effects[granularity][name(layer, path)]
        assert values.shape == (
            tower.stream.sequences,
            rows,
            {"group": columns // 128, "bit": columns}[granularity],
        )
        for group, *bit in PLACES[granularity]:
            start, width = (group * 128 + bit[0], 1) if bit else (group * 128, 128)
            part = slice(start, start + width)

            def change(x, y, part=part, row=row, module=module):
                return only(y, row, -2 * (x[..., part] @ module.weight[row, part]))

            close(values[:, row, start if bit else group], tower.slope(module, change))


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("path", SHAPES)
def test_parts_add_up(effects, layer, path):
    row, group, bit = (effects[granularity][name(layer, path)] for granularity in PLACES)
    close(bit.unflatten(2, (-1, 128)).sum(3), group)
    if "gate" in path:  # its rows are followed exactly through silu, its parts by the slope at the output
        assert not torch.allclose(group.sum(2, keepdim=True), row, rtol=1e-2)
    else:
        close(group.sum(2, keepdim=True), row)


@pytest.mark.parametrize("granularity", ["group", "bit"])
def test_blocks_of_rows_do_not_matter(tower, effects, granularity, monkeypatch):
    for block in (1, 5 * 256 * tower.stream.sequences + 1):
        monkeypatch.setattr(attribution, "BLOCK", block)
        found = tower.effects(granularity, ("mlp.down_proj", "self_attn.k_proj"), (1,))
        assert set(found) == {name(1, "down_proj"), name(1, "k_proj")}
        for tensor, values in found.items():
            close(values, effects[granularity][tensor])


def test_a_block_is_as_large_as_allowed(tower, monkeypatch):
    monkeypatch.setattr(attribution, "BLOCK", 10 * 256 * tower.stream.sequences)
    sizes = []
    stream_effects(
        tower.stream,
        lambda logits: tower.sums(logits).sum(),
        lambda effects: sizes.append((effects.first_row, effects.values.shape[1])),
        layers=(0,),
        projections=("self_attn.v_proj",),
        granularity="group",
    )
    assert sizes == [(first, min(10, 128 - first)) for first in range(0, 128, 10)]


@pytest.mark.parametrize("layers", [(0,), (1,), (2, 0)])
def test_layers_and_projections_may_be_chosen(tower, effects, layers):
    paths = ("mlp.up_proj", "self_attn.o_proj")
    found = tower.effects("row", paths, layers)
    assert list(found) == [name(layer, path) for layer in sorted(layers, reverse=True) for path in paths]
    for tensor, values in found.items():
        close(values, effects["row"][tensor])


def test_mlp_is_what_is_looked_at_unless_told(tower):
    seen = []
    stream_effects(
        tower.stream, lambda logits: logits.sum(), lambda effects: seen.append(effects.tensor), layers=(1,)
    )
    assert seen == [name(1, path) for path in ("gate_proj", "up_proj", "down_proj")]


def test_effects_of_a_sequence_are_its_own(tower, effects):
    """A value of one sequence alone leaves the other sequences at 0."""
    found = {}
    stream_effects(
        tower.stream,
        lambda logits: tower.sums(logits)[2],
        lambda some: found.update({some.tensor: some.values}),
        layers=range(LAYERS),
        projections=SHAPES,
    )
    for tensor, values in found.items():
        close(values[2], effects["row"][tensor][2])
        assert not values[[0, 1, 3, 4]].any()


def test_a_small_flip_does_what_its_slope_says(tower, effects):
    """Bits are small enough that first order and truth nearly agree; this one needs no hooks."""
    with torch.no_grad():
        base = tower.sums(tower.model.lm_head(answer_hidden(tower.model, tower.batch)))
        for path in SHAPES:
            estimates = effects["bit"][name(2, path)]
            found, expected = [], []
            for row in range(0, 128, 8):
                flip(tower.model, [Flip(name(2, path), row, 1, row)])
                found.append(tower.sums(tower.model.lm_head(answer_hidden(tower.model, tower.batch))) - base)
                flip(tower.model, [Flip(name(2, path), row, 1, row)])
                expected.append(estimates[:, row, 128 + row])
            found, expected = torch.stack(found), torch.stack(expected)
            assert (found - expected).norm() < 0.15 * found.norm()


def test_nothing_is_left_behind(tower):
    def modules():
        return [
            module for module in tower.model.modules() if module._forward_hooks or module._forward_pre_hooks
        ]

    def fail(effects):
        raise RuntimeError("inside")

    tower.effects("bit", ("mlp.gate_proj",), (0,))
    assert modules() == []
    with pytest.raises(RuntimeError, match="inside"):
        stream_effects(tower.stream, lambda logits: logits.sum(), fail, layers=(1,))
    assert modules() == []
    assert not any(tensor.requires_grad for tensor in (*tower.stream.middle, *tower.stream.added))


def test_effects_do_not_need_gradients_switched_on(tower, effects):
    with torch.no_grad():
        found = tower.effects("row", ("mlp.gate_proj",), (0,))[name(0, "gate_proj")]
    close(found, effects["row"][name(0, "gate_proj")])
    assert not found.requires_grad
