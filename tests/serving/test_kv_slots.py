"""Which slot a text gets, and that nothing is found that would not be computed again bit for bit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bankai.serving.engines.kv_slots import Slots

PIECE, CHUNK = 2, 4


def read(slots: Slots, key: str, ids: list[int], generated: int = 0):
    """Take a slot and compute a prompt in pieces, then tokens one by one; also tells the pieces."""
    found = slots.take(key, ids)
    pieces, at = [], found.kept
    while at < len(ids):
        end = slots.end(at, len(ids))
        found.slot.read(ids[at:end])
        pieces.append((at, end))
        at = end
    for token in range(generated):
        found.slot.tokens.append(token)
    return found, pieces


def together(start: int, end: int) -> dict[int, bool]:
    """For each token, whether it was computed beside others."""
    return dict.fromkeys(range(start, end), end - start > 1)


TEXTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)
ASKED = st.lists(st.tuples(st.sampled_from("ab"), TEXTS, st.integers(0, 3), st.booleans()), max_size=30)


@settings(max_examples=300)
@given(ASKED, st.integers(1, 4), st.integers(1, 3))
def test_what_is_kept_was_computed_under_the_same_key_as_it_would_be_alone(asked, number, worth) -> None:
    slots = Slots(number, PIECE, CHUNK, worth)
    held: dict[int, tuple[str, list[int], dict[int, bool]]] = {}  # what an engine would have, by slot
    busy = []
    for key, ids, generated, stays in asked:
        if len(busy) == number:
            slots.release(busy.pop(0))
        found, pieces = read(slots, key, ids, generated)
        where, tokens, beside = held.get(found.source.number, ("", [], {}))
        assert found.kept < len(ids)
        assert found.kept == 0 or (where == key and tokens[: found.kept] == ids[: found.kept])
        beside = {at: beside[at] for at in range(found.kept)}
        for start, end in pieces:
            beside |= together(start, end)
        alone = {}
        for start in range(0, len(ids), CHUNK):
            alone |= together(start, min(start + CHUNK, len(ids)))
        assert beside == alone
        after = {at: False for at in range(len(ids), len(ids) + generated)}
        held[found.slot.number] = key, ids + list(range(generated)), beside | after
        assert found.slot not in busy
        if stays:
            busy.append(found.slot)
        else:
            slots.release(found.slot)


def test_the_longest_beginning_is_found_and_the_longest_unused_makes_room() -> None:
    slots = Slots(3, PIECE, CHUNK)
    taken = [read(slots, "a", text)[0].slot for text in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8], [9] * 8)]
    assert taken == slots.all
    for slot in taken:
        slots.release(slot)
    # Three quarters of the second: little is lost when it goes on there.
    found = slots.take("a", [1, 2, 3, 4, 5, 6, 0, 0])
    assert (found.source, found.slot, found.kept) == (taken[1], taken[1], 6)
    # Less than half of the third: it stays, and its beginning is copied to the longest unused.
    found = slots.take("a", [9, 9, 1, 1, 1, 1])
    assert (found.source, found.slot, found.kept) == (taken[2], taken[0], 2)
    assert slots.take("b", [9] * 8).kept == 0


def test_a_busy_slot_gives_its_beginning_to_others() -> None:
    slots = Slots(2, PIECE, CHUNK)
    first = read(slots, "a", [1, 2, 3, 4, 5])[0].slot
    found = slots.take("a", [1, 2, 3, 4, 9])
    assert (found.source, found.slot, found.kept) == (first, slots.all[1], 4)
    assert first.tokens == [1, 2, 3, 4, 5]


def test_few_tokens_are_not_worth_a_copy() -> None:
    slots = Slots(2, PIECE, CHUNK, worth=4)
    first = read(slots, "a", [1, 2, 3, 4, 5])[0].slot
    found = slots.take("a", [1, 2, 3, 9])
    assert (found.source, found.slot, found.kept) == (slots.all[1], slots.all[1], 0)
    slots.release(found.slot)
    assert slots.take("a", [1, 2, 3, 4, 9]).source is first


@pytest.mark.parametrize(
    ("before", "ids", "kept"),
    [
        ([1, 2, 3], [1, 2, 3], 1),  # the last is computed for its logits, and not alone
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 4),  # alone it is alone in its chunk as well
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], 4),  # the fifth was alone, and is not now
        ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 9], 2),
        ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4], 2),
        ([1], [1, 2], 0),
    ],
)
def test_a_token_is_never_computed_alone_that_was_not(before, ids, kept) -> None:
    slots = Slots(1, PIECE, CHUNK)
    slots.release(read(slots, "a", before)[0].slot)
    assert slots.take("a", ids).kept == kept


def test_who_wants_all_logits_finds_nothing_again_and_leaves_it_to_others() -> None:
    slots = Slots(3, 4, 8)
    ids = [*range(12)]
    first, _ = read(slots, "a", ids)
    found = slots.take("a", ids, again=False)
    assert (found.kept, found.slot.tokens, found.source is found.slot) == (0, [], True)
    assert found.slot is not first
    assert slots.take("a", ids).kept > 0


def test_of_a_recurrent_model_nothing_is_found_again() -> None:
    slots = Slots(2, PIECE, CHUNK, recurrent=True)
    first = read(slots, "a", [1, 2, 3, 4])[0].slot
    for _ in range(2):
        found = slots.take("a", [1, 2, 3, 4, 5, 6])
        assert (found.source, found.kept, found.slot.tokens) == (found.slot, 0, [])
        slots.release(found.slot)
    slots.release(first)
    assert slots.take("a", [1, 2, 3, 4, 5]).kept == 0


def test_what_was_generated_is_not_a_prompt() -> None:
    slots = Slots(1, PIECE, CHUNK)
    slots.release(read(slots, "a", [1, 2, 3, 4], generated=3)[0].slot)
    assert slots.take("a", [1, 2, 3, 4, 0, 1, 2, 5, 6]).kept == 4
