"""Prefix trees: sequences of tokens that begin alike, each beginning once.

Causal attention over a tree, in which a token sees its ancestors alone, computes for every token what it is in a
sequence of its own, whatever else the tree holds.
"""

from collections.abc import Iterator, Sequence

__all__ = ["Tree", "grow"]


class Tree:
    """Tokens, each after its parent: ``ids`` and ``parents`` by number, where a parent of -1 is none."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def missing(self, sequence: Sequence[int]) -> int:
        """How many tokens the sequence would add."""
        return len(sequence) - len(self._known(sequence))

    def add(self, sequence: Sequence[int]) -> list[int]:
        """The numbers of its tokens, of which those that were missing are new."""
        path = self._known(sequence)
        for token in sequence[len(path) :]:
            parent = path[-1] if path else -1
            path.append(self._children.setdefault((parent, token), len(self)))
            self.ids.append(token)
            self.parents.append(parent)
        return path

    def _known(self, sequence: Sequence[int]) -> list[int]:
        """The path of as much of the sequence as is there."""
        path: list[int] = []
        for token in sequence:
            found = self._children.get((path[-1] if path else -1, token))
            if found is None:
                break
            path.append(found)
        return path


def grow(sequences: Sequence[Sequence[int]], limit: int) -> Iterator[tuple[Tree, dict[int, list[int]]]]:
    """Trees that together hold all sequences, and of each the paths of its sequences by their index.

    Sequences that begin alike stand in one tree. A tree has at most ``limit`` tokens more than its first sequence, so
    that a long beginning is not computed again for each of a few.
    """
    tree, paths, most = Tree(), dict[int, list[int]](), 0
    for index in sorted(range(len(sequences)), key=lambda at: tuple(sequences[at])):
        sequence = sequences[index]
        if paths and len(tree) + tree.missing(sequence) > most:
            yield tree, paths
            tree, paths = Tree(), {}
        if not paths:
            most = len(sequence) + limit
        paths[index] = tree.add(sequence)
    if paths:
        yield tree, paths
