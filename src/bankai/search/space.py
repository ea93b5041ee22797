"""Which places a search may flip. Names are canonical module paths."""

import random
from collections.abc import Iterator
from typing import Literal

import msgspec

from bankai.errors import PlaceError
from bankai.model.decoder import ATTENTION, LINEAR_ATTENTION, MLP, Decoder
from bankai.patch import Flip
from bankai.quantization.binary import GROUP

__all__ = ["PROJECTIONS", "Space", "row_scales"]

PROJECTIONS = {name.split(".")[1]: name for name in (*ATTENTION, *LINEAR_ATTENTION, *MLP)}
"""Short name of each projection, and its path inside a layer."""


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Projections by short name, layers (all when empty) and granularity: "row", "group" or "bit".

    In a hybrid a layer has the projections of its own mixer only. Raises PlaceError for a projection that nothing has.
    """

    projections: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    layers: tuple[int, ...] = ()
    granularity: Literal["row", "group", "bit"] = "row"

    def __post_init__(self) -> None:
        for name in self.projections:
            if name not in PROJECTIONS:
                raise PlaceError(f"no projection is called {name!r}; choose among {', '.join(PROJECTIONS)}")

    def paths(self) -> tuple[str, ...]:
        """Projections as paths inside a layer."""
        return tuple(PROJECTIONS[name] for name in self.projections)

    def layers_of(self, decoder: Decoder) -> tuple[int, ...]:
        """The layers to search. Raises PlaceError for one that the model does not have."""
        for layer in self.layers:
            if not 0 <= layer < decoder.layers:
                raise PlaceError(
                    f"the model has layers 0 to {decoder.layers - 1}, not {layer}; choose among these"
                )
        chosen = tuple(sorted(set(self.layers))) or tuple(range(decoder.layers))
        known = {path for layer in chosen for path in decoder.projections(layer)}
        for name in self.projections:
            if PROJECTIONS[name] not in known:
                there = ", ".join(name for name, path in PROJECTIONS.items() if path in known)
                raise PlaceError(f"none of the layers to search has {name}; choose among {there}")
        return chosen

    def tensors(self, decoder: Decoder) -> Iterator[str]:
        """Canonical names, layer by layer, of what there is."""
        for layer in self.layers_of(decoder):
            known = decoder.projections(layer)
            yield from (decoder.name(layer, path) for path in self.paths() if path in known)

    def flip(self, tensor: str, row: int, place: int) -> Flip:
        """The place of that number in a row."""
        if self.granularity == "row":
            return Flip(tensor, row)
        return (
            Flip(tensor, row, place)
            if self.granularity == "group"
            else Flip(tensor, row, *divmod(place, GROUP))
        )

    def size(self, decoder: Decoder) -> int:
        """How many places there are."""
        shapes = [decoder.model.get_submodule(tensor).packed.shape for tensor in self.tensors(decoder)]
        return sum(rows * self.places(columns) for rows, columns in shapes)

    def draw(self, decoder: Decoder, rng: random.Random) -> Flip:
        """Any place of the space, each alike."""
        tensors = list(self.tensors(decoder))
        shapes = [decoder.model.get_submodule(tensor).packed.shape for tensor in tensors]
        places = [rows * self.places(columns) for rows, columns in shapes]
        (at,) = rng.choices(range(len(tensors)), weights=places)
        row, place = divmod(rng.randrange(places[at]), self.places(shapes[at][1]))
        return self.flip(tensors[at], row, place)

    def places(self, columns: int) -> int:
        """Places of a row."""
        return {"row": 1, "group": columns // GROUP, "bit": columns}[self.granularity]

    def row_flips(self, decoder: Decoder) -> Iterator[Flip]:
        """Every row, whatever the granularity."""
        for tensor in self.tensors(decoder):
            yield from (Flip(tensor, row) for row in range(decoder.model.get_submodule(tensor).out_features))


def row_scales(decoder: Decoder, tensor: str) -> list[float]:
    """Mean |scale| of each row of a tensor."""
    return decoder.model.get_submodule(tensor).scales.float().abs().mean(1).tolist()
