"""Prefix trees against the sequences that they are made of."""

from hypothesis import given
from hypothesis import strategies as st

from bankai.probes.tree import Tree, grow

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), max_size=20)


@given(SEQUENCES, st.integers(0, 12))
def test_every_sequence_is_a_path_in_one_tree(sequences, limit):
    grown = list(grow(sequences, limit))
    assert sorted(index for _, paths in grown for index in paths) == list(range(len(sequences)))
    for tree, paths in grown:
        for index, path in paths.items():
            assert [tree.ids[at] for at in path] == sequences[index]
            assert [tree.parents[at] for at in path] == [-1, *path[:-1]]
        begins = {tuple(sequences[index][:end]) for index in paths for end in range(1, 9)}
        assert len(tree) == len({beginning for beginning in begins if beginning})
        first = sequences[next(iter(paths))]
        assert len(paths) == 1 or len(tree) <= len(first) + limit


def test_what_is_missing_is_added_once():
    tree = Tree()
    assert tree.add([5, 6, 7]) == [0, 1, 2]
    assert tree.missing([5, 6, 8, 9]) == 2 and tree.missing([5, 6]) == 0 and tree.missing([6]) == 1
    assert tree.add([5, 6, 8, 9]) == [0, 1, 3, 4] and tree.add([5, 6]) == [0, 1]
    assert tree.ids == [5, 6, 7, 8, 9] and tree.parents == [-1, 0, 1, 1, 3]


def test_a_long_beginning_is_not_computed_again_for_each_of_a_few():
    beginning = list(range(100))
    sequences = [[*beginning, 200 + at, 300 + at] for at in range(40)]
    trees = [tree for tree, _ in grow(sequences, 20)]
    assert len(trees) == 4 and all(len(tree) <= 122 for tree in trees)
