"""Which places a search may flip. Names are canonical module paths."""

import random
from collections.abc import Iterator

import msgspec

from bankai.architectures import PROJECTIONS
from bankai.errors import PlaceError
from bankai.model.decoder import Decoder
from bankai.patch import Flip, Kind
from bankai.patch.places import flip_of, places_in_row

__all__ = ["Space"]


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Projections by short name, layers (all when empty) and granularity: "row", "group" or "bit".

    In a hybrid a layer has the projections of its own mixer only. Raises PlaceError for a projection that nothing has.
    """

    projections: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    layers: tuple[int, ...] = ()
    granularity: Kind = "row"

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

    def size(self, decoder: Decoder) -> int:
        """How many places there are. Raises PlaceError for weights that have no signs of their own."""
        infos = [decoder.matrix(tensor).info for tensor in self.tensors(decoder)]
        return sum(info.rows * places_in_row(info, self.granularity) for info in infos)

    def draw(self, decoder: Decoder, rng: random.Random) -> Flip:
        """Any place of the space, each alike."""
        tensors = list(self.tensors(decoder))
        infos = [decoder.matrix(tensor).info for tensor in tensors]
        places = [info.rows * places_in_row(info, self.granularity) for info in infos]
        (at,) = rng.choices(range(len(tensors)), weights=places)
        row, number = divmod(rng.randrange(places[at]), places_in_row(infos[at], self.granularity))
        return flip_of(tensors[at], row, self.granularity, number, infos[at])

    def row_flips(self, decoder: Decoder) -> Iterator[Flip]:
        """Every row, whatever the granularity."""
        for tensor in self.tensors(decoder):
            yield from (Flip(tensor, row) for row in range(decoder.matrix(tensor).info.rows))
