"""Which rows a search may flip. Names are canonical module paths."""

from collections.abc import Iterable, Iterator

from transformers import PreTrainedModel

from bankai.patch import Flip

__all__ = ["MLP_PROJECTIONS", "mlp_rows", "row_scales"]

MLP_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def mlp_rows(model: PreTrainedModel, projections: Iterable[str] = MLP_PROJECTIONS) -> Iterator[Flip]:
    """Every row of the named MLP projections, layer by layer."""
    for index, layer in enumerate(model.model.layers):
        for projection in projections:
            rows = getattr(layer.mlp, projection).out_features
            yield from (Flip(f"model.layers.{index}.mlp.{projection}", row) for row in range(rows))


def row_scales(model: PreTrainedModel, flips: Iterable[Flip]) -> list[float]:
    """Mean |scale| of each flip's row."""
    means: dict[str, list[float]] = {}
    for flip in flips:
        if flip.tensor not in means:
            means[flip.tensor] = model.get_submodule(flip.tensor).scales.float().abs().mean(1).tolist()
    return [means[flip.tensor][flip.row] for flip in flips]
