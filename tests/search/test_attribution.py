"""Attribution against finite differences: each estimate is the slope along the exact change of its activation."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import silu

from bankai.evaluation.scoring import prepare, score_tensors
from bankai.model import load
from bankai.probes import Probe
from bankai.search.attribution import row_effects

STEP = 1e-3


def probes() -> list[Probe]:
    texts = [("a bc", ("d", "the")), ("hello ", ("x",)), ("what is", (" ok",)), ("z", ("9", "00"))]
    return [
        Probe(id=str(i), item=str(i), category="any", split="target", prompt=prompt, answers=answers)
        for i, (prompt, answers) in enumerate(texts)
    ]


@pytest.mark.parametrize("projection", ["gate_proj", "up_proj", "down_proj"])
@pytest.mark.parametrize("layer", [0, 1])
def test_effects_are_slopes(tiny_gguf: Path, layer: int, projection: str) -> None:
    model, tokenizer = load(tiny_gguf, dense=True, dtype=torch.float64)
    prepared = prepare(tokenizer, probes())
    mlp = model.model.layers[layer].mlp
    effects = row_effects(model, prepared)[f"model.layers.{layer}.mlp.{projection}"]
    assert effects.shape == (4, getattr(mlp, projection).out_features)
    kept: dict[str, torch.Tensor] = {}

    def nudge_inner(row: int, step: float):
        def hook(module, inputs):
            h = inputs[0].clone()
            g, u = kept["g"][..., row], kept["u"][..., row]
            change = -2 * silu(g) * u if projection == "up_proj" else (silu(-g) - silu(g)) * u
            h[..., row] += step * change
            return (h,)

        return mlp.down_proj.register_forward_pre_hook(hook)

    def nudge_outer(row: int, step: float):
        def hook(module, inputs, output):
            output = output.clone()
            output[..., row] += step * -2 * output[..., row]
            return output

        return mlp.down_proj.register_forward_hook(hook)

    keep = [
        mlp.gate_proj.register_forward_hook(lambda m, i, o: kept.update(g=o)),
        mlp.up_proj.register_forward_hook(lambda m, i, o: kept.update(u=o)),
    ]
    nudge = nudge_outer if projection == "down_proj" else nudge_inner
    for row in (0, 17, 100):
        scores = []
        for step in (STEP, -STEP):
            handle = nudge(row, step)
            with torch.no_grad():
                scores.append(score_tensors(model, prepared)[0])
            handle.remove()
        slope = (scores[0] - scores[1]) / (2 * STEP)
        # The scores are summed in float32, so a slope over 2e-3 carries about 1e-3 of rounding.
        assert torch.allclose(effects[:, row].float(), slope.float(), atol=4e-3, rtol=1e-2)
    for handle in keep:
        handle.remove()


def test_watching_leaves_no_hooks(tiny_gguf: Path) -> None:
    model, tokenizer = load(tiny_gguf)
    row_effects(model, prepare(tokenizer, probes()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
