"""Bytes of tokens: together they are the text, they tell tokens apart, and they say where a token begins."""

import pytest
from builders import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from bankai.checkpoint.model_file import open_checkpoint
from bankai.checkpoint.tokenizer_spec import CONTROL
from bankai.model.token_bytes import Offsets, is_hidden, spell, spell_out, token_bytes
from bankai.model.tokenizer import make_tokenizer

SPEC = tiny_tokenizer()
TINY = make_tokenizer(SPEC)  # a token for every byte
TOKENS = st.lists(st.integers(0, len(TINY) - 1), max_size=30)


def bytes_of(text: str) -> list[bytes]:
    """Of tokens of one byte each."""
    return [bytes([byte]) for byte in text.encode()]


@given(TOKENS)
def test_the_bytes_are_the_text(tokens: list[int]) -> None:
    """Whatever the tokens are: bytes that are no text, special tokens, pieces of characters."""
    data = b"".join(token_bytes(TINY, token) for token in tokens)
    assert data.decode(errors="replace") == TINY.decode(tokens)
    shown = b"".join(token_bytes(TINY, token) for token in tokens if not is_hidden(TINY, token))
    assert shown.decode(errors="replace") == TINY.decode(tokens, skip_special_tokens=True)


def test_a_special_token_is_its_name() -> None:
    """Also where it has letters that spell no byte."""
    tokens = [*SPEC.tokens[:-1], "<｜end▁of▁text｜>"]
    tokenizer = make_tokenizer(tiny_tokenizer(tokens=tokens))
    assert tokenizer.decode([299]) == "<｜end▁of▁text｜>" == token_bytes(tokenizer, 299).decode()
    assert [token for token in range(300) if is_hidden(tokenizer, token)] == [
        token for token, kind in enumerate(SPEC.token_types) if kind == CONTROL
    ]


def test_no_two_tokens_of_the_embedded_model_spell_alike() -> None:
    with open_checkpoint("nano") as checkpoint:
        tokenizer = make_tokenizer(checkpoint.tokenizer())
    assert len({spell(token_bytes(tokenizer, token)) for token in range(len(tokenizer))}) == len(tokenizer)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b" a", " a"),
        ("😀".encode(), "😀"),
        ("\ufffd".encode(), "\ufffd"),  # a sign of its own, not a piece
        (b"\xf0\x9f", r"bytes:\xf0\x9f"),
        (b"a\xc3", r"bytes:\x61\xc3"),
    ],
)
def test_spelling(data: bytes, text: str) -> None:
    assert spell(data) == text


@given(st.text("aé€😀\ufffd", max_size=8))
def test_a_piece_begins_where_its_character_does(text: str) -> None:
    expected = tuple(at for at, letter in enumerate(text) for _ in letter.encode())
    assert spell_out(bytes_of(text)) == (text, expected)


@given(st.lists(st.binary(max_size=4), max_size=12), st.integers(0, 5))
def test_offsets_are_those_of_the_decoded_text(tokens: list[bytes], start: int) -> None:
    """What is decoded before a token, without the sign for a piece that the token goes on with."""
    offsets, before = Offsets(start), b""
    for token in tokens:
        found = offsets.place(token)
        text = before.decode(errors="replace")
        whole = (before + token[:1]).decode(errors="replace")
        continues = bool(token) and text.endswith("\ufffd") and _goes_on(before, token[:1])
        assert found == start + len(text) - continues if token else found <= start + len(text)
        assert not token or found < start + len(whole)
        before += token


def _goes_on(before: bytes, byte: bytes) -> bool:
    """Whether a byte belongs to the character that the bytes before leave open."""
    for size in (1, 2, 3):
        piece = before[-size:]
        try:
            piece.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and error.start == 0 and len(piece) == size:
                try:
                    (piece + byte).decode()
                    return True
                except UnicodeDecodeError as longer:
                    return longer.reason == "unexpected end of data" and longer.start == 0
    return False
