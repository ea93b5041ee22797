"""Pieces of text: together they are the text, no character is ever cut, and no stop string is ever seen."""

import pytest
from builders import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from bankai.checkpoint.model_file import open_checkpoint
from bankai.model.text_stream import TextStream
from bankai.model.tokenizer import make_tokenizer

TINY = make_tokenizer(tiny_tokenizer())  # a token for every byte
EOS = TINY.eos_token_id


def pieces(
    tokens: list[int], *stops: str, tokenizer: PreTrainedTokenizerBase = TINY
) -> tuple[list[str], bool]:
    stream = TextStream(tokenizer, stops)
    found = [stream.push(token) for token in tokens]
    return [*found, stream.flush()], stream.stopped


def in_bytes(text: str) -> list[int]:
    """Tokens of one byte each."""
    alphabet = TINY.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    letters = "".join(piece for piece, _ in alphabet(text))
    return [TINY.convert_tokens_to_ids(letter) for letter in letters]


def cut(text: str, stops: list[str]) -> str:
    """The text before the stop string that is complete first."""
    for end in range(len(text) + 1):
        for start in range(end):
            if text[start:end] in stops:
                return text[:start]
    return text


@given(st.lists(st.integers(0, len(TINY) - 1), max_size=30))
def test_together_they_are_the_text(tokens: list[int]) -> None:
    """Whatever the tokens are: bytes that are no text, special tokens, pieces of characters."""
    found, _ = pieces(tokens)
    assert "".join(found) == TINY.decode(tokens, skip_special_tokens=True)


@given(st.text("aé€😀中\n", max_size=12))
def test_characters_come_whole(text: str) -> None:
    found, _ = pieces(in_bytes(text))
    assert "".join(found) == text
    assert "\ufffd" not in "".join(found)
    assert len([piece for piece in found if piece]) == len(text), "each as soon as its last byte is there"


def test_a_character_that_is_cut_off_is_told_at_the_end() -> None:
    tokens = in_bytes("x😀")
    assert pieces(tokens[:-1]) == (["x", "", "", "", "\ufffd"], False)
    assert pieces([*tokens[:-1], *in_bytes("y")])[0] == ["x", "", "", "", "\ufffdy", ""]


@given(
    st.text("ab€", max_size=12),
    st.lists(st.text("ab€", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_no_stop_is_ever_seen(text: str, stops: list[str], data: st.DataObject) -> None:
    """However the text is cut into tokens: bytes, or the words of the tokenizer."""
    tokens = in_bytes(text) if data.draw(st.booleans()) else TINY(text)["input_ids"]
    found, stopped = pieces(tokens, *stops)
    assert "".join(found) == cut(text, stops)
    assert stopped == any(stop in text for stop in stops)


@given(st.text("ab", max_size=10), st.text("ab", min_size=1, max_size=3))
def test_nothing_waits_that_need_not(text: str, stop: str) -> None:
    """What is not yet told could still become the stop string."""
    stream, told = TextStream(TINY, [stop]), ""
    for at, token in enumerate(in_bytes(text), start=1):
        told += stream.push(token)
        if not stream.stopped:
            assert text[:at].startswith(told)
            assert stop.startswith(text[len(told) : at])


def test_nothing_comes_after_a_stop() -> None:
    stream = TextStream(TINY, ["b"])
    assert [stream.push(token) for token in in_bytes("abc")] == ["a", "", ""]
    assert (stream.flush(), stream.stopped) == ("", True)


def test_special_tokens_are_shown_if_wanted() -> None:
    tokens = [*in_bytes("a"), EOS, *in_bytes("b")]
    assert "".join(pieces(tokens)[0]) == "ab"
    stream = TextStream(TINY, ["b"], special=True)
    assert [stream.push(token) for token in tokens] == ["a", "<|im_end|>", ""] and stream.stopped


def test_pieces_of_a_character_wait_however_many_signs_they_decode_to() -> None:
    """Some tokenizers decode every byte of a piece to a sign of its own, as these invalid ones do."""
    stream = TextStream(TINY)
    tokens = [TINY.convert_tokens_to_ids(letter) for letter in ("a", "þ", "þ")]  # bytes 61 FE FE
    assert [stream.push(token) for token in tokens] == ["a", "", ""]
    assert stream.flush() == "\ufffd\ufffd"


@pytest.mark.parametrize("text", ["17 + 25 = 42\n", "Übergrößenträger 中文 😀!", "  two  blanks  "])
def test_on_the_embedded_model(text: str) -> None:
    with open_checkpoint("nano") as checkpoint:
        tokenizer = make_tokenizer(checkpoint.tokenizer())
    tokens = tokenizer(text)["input_ids"]
    found, _ = pieces(tokens, tokenizer=tokenizer)
    assert "".join(found) == tokenizer.decode(tokens, skip_special_tokens=True)


Letters = list[tuple[str, bool]]
START = TINY.convert_tokens_to_ids("<|im_start|>")


def shown(letters: Letters) -> str:
    return "".join(letter for letter, seen in letters if seen)


def cut_at_any(letters: Letters, stops: list[str]) -> str:
    """What is shown before the stop string that is complete first, in what is shown or in all there is."""
    for end in range(len(letters) + 1):
        for view in (letters[:end], [one for one in letters[:end] if one[1]]):
            text = "".join(letter for letter, _ in view)
            starts = [len(text) - len(stop) for stop in stops if text.endswith(stop)]
            if starts and (end == 0 or view[-1:] == letters[end - 1 : end]):
                return shown(view[: min(starts)])
    return shown(letters)


SPECIAL = [
    "<|im_start|>",
    "a<|im_start|>",
    "<|im_start|>b",
    "|>b",
    "a<",
    "ab",
    "<|endoftext|><|im_start|>",
    "ba",
]


@given(
    st.lists(st.sampled_from(["a", "b", "<", "<|im_start|>", "<|endoftext|>"]), max_size=8),
    st.lists(st.sampled_from(SPECIAL), max_size=3),
)
def test_a_stop_may_name_special_tokens(words: list[str], stops: list[str]) -> None:
    """It fires at them, at text around them, and still at text that is shown without them."""
    letters = [(letter, len(word) == 1) for word in words for letter in word]
    found, stopped = pieces([TINY.convert_tokens_to_ids(word) for word in words], *stops)
    assert "".join(found) == cut_at_any(letters, stops)
    everything = "".join(letter for letter, _ in letters)
    assert stopped == any(stop in text for stop in stops for text in (everything, shown(letters)))


def test_a_special_token_stops_at_once() -> None:
    stream = TextStream(TINY, ["<|im_start|>"])
    assert [stream.push(token) for token in (*in_bytes("0\n"), START, *in_bytes("user"))][:3] == [
        "0",
        "\n",
        "",
    ]
    assert (stream.stopped, stream.flush()) == (True, "")


def test_a_stop_may_begin_before_a_special_token() -> None:
    tokens = [*in_bytes("0\n"), START, *in_bytes("user")]
    assert "".join(pieces(tokens, "\n<|im_start|>user")[0]) == "0"
    assert "".join(pieces(tokens, "\nuser")[0]) == "0", "as the text is shown"
