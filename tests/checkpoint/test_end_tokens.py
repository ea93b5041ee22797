"""Which tokens end a text: declared ones, those that llama.cpp knows by their text, and the way through files."""

from typing import Any

import msgspec
import pytest
from builders import byte_alphabet, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from bankai.checkpoint.end_tokens import find_ends
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, TokenizerSpec
from bankai.errors import ModelFormatError

TURN, TEXT = 299, 297  # <|im_end|> and <|endoftext|> of the tiny tokenizer
IDS = st.integers(0, 299)


def plain(**changes: Any) -> TokenizerSpec:
    """No token of it says by its text that it ends one; 256 to 259 are control tokens."""
    tokens = [*byte_alphabet(), "<a>", "<b>", "<c>", "<d>"]
    fields = {"tokens": tokens, "merges": [], "token_types": [NORMAL] * 256 + [CONTROL] * 4, "pre": "gpt-2"}
    return TokenizerSpec(**(fields | changes))


def through_json(spec: TokenizerSpec) -> TokenizerSpec:
    ends = spec.to_generation_config().get("eos_token_id")
    return TokenizerSpec.from_json(spec.to_json(), spec.to_json_config(), len(spec.tokens), [ends])


def test_ends_by_text_and_by_declaration() -> None:
    assert tiny_tokenizer().ends == tiny_tokenizer(eos_id=None).ends == {TURN, TEXT}
    assert tiny_tokenizer(eos_id=5, eot_id=6, eom_id=7, end_ids=[8]).ends == {5, 6, 7, 8, TURN, TEXT}
    assert plain().ends == frozenset() and plain(eot_id=257).ends == {257}


def test_the_type_of_a_token_does_not_matter() -> None:
    assert tiny_tokenizer(token_types=[NORMAL] * 300).ends == {TURN, TEXT}


def test_texts_that_mean_something_else_beside_others() -> None:
    """gpt-oss and Solar end messages with <|end|>; to Gemma and PLaMo </s> is plain text."""
    for beside in ({"<|return|>", "<|call|>"}, {"<|call|>", "<|flush|>"}, {"<|calls|>", "<|flush|>"}):
        tokens = ["<|end|>", *sorted(beside)]
        assert find_ends(tokens, ()) == find_ends(tokens, [0]) == {1, 2}
    assert find_ends(["<|end|>", "<|return|>", "<|flush|>"], ()) == {0, 1, 2}
    assert find_ends(["</s>", "<|tool_response>"], [0]) == {1} == find_ends(["</s>", "<|plamo:eos|>"], [1])
    assert find_ends(["</s>", "<|plamo:eos|>"], ()) == {0}


@given(eos=st.none() | IDS, eot=st.none() | IDS, eom=st.none() | IDS)
def test_declared_ends_survive_both_formats(eos: int | None, eot: int | None, eom: int | None) -> None:
    spec = tiny_tokenizer(eos_id=eos, eot_id=eot, eom_id=eom)
    assert TokenizerSpec.from_gguf(spec.to_gguf()) == spec == through_json(spec)
    assert through_json(TokenizerSpec.from_gguf(spec.to_gguf())).ends == spec.ends


@given(listed=st.lists(IDS, max_size=6), eos=st.none() | IDS)
def test_ids_of_a_list_survive_json_and_where_gguf_has_keys_that_too(
    listed: list[int], eos: int | None
) -> None:
    base = tiny_tokenizer(eos_id=eos)
    spec = TokenizerSpec.from_json(base.to_json(), base.to_json_config(), 300, [listed])
    assert spec.ends == base.ends | set(listed)
    assert through_json(spec) == spec
    back = TokenizerSpec.from_gguf(spec.to_gguf())
    assert msgspec.structs.replace(back, end_ids=spec.end_ids) == spec
    if not spec.end_ids:
        assert back == spec


def test_a_list_in_the_configuration() -> None:
    """One id, a list or nothing, in config.json and in generation_config.json; what the text says is not kept twice."""
    base = plain(eos_id=256)
    read = [TokenizerSpec.from_json(base.to_json(), base.to_json_config(), 260, ends) for ends in (
        [256, None], [[256, 257], 258], [None, [257, 256, 258]], [[257], [258, 257, 259]]
    )]  # fmt: skip
    assert [sorted(spec.ends) for spec in read] == [
        [256],
        [256, 257, 258],
        [256, 257, 258],
        [256, 257, 258, 259],
    ]
    assert [(spec.eot_id, spec.eom_id, spec.end_ids) for spec in read[1:]] == [
        (257, 258, []), (257, 258, []), (257, 258, [259])
    ]  # fmt: skip
    assert read[3].to_generation_config() == {"eos_token_id": [256, 257, 258, 259]}
    none = plain()
    found = TokenizerSpec.from_json(none.to_json(), none.to_json_config(), 260, [[258, 257]])
    assert (found.eos_id, found.eot_id) == (258, 257)
    assert none.to_generation_config() == {}


def test_fill_in_the_middle_of_gguf_ends_a_text_too() -> None:
    metadata = plain(eos_id=256).to_gguf() | {
        "tokenizer.ggml.fim_pad_token_id": 257,
        "tokenizer.ggml.fim_rep_token_id": 256,
        "tokenizer.ggml.fim_sep_token_id": 259,
        "tokenizer.ggml.fim_pre_token_id": 258,
    }
    spec = TokenizerSpec.from_gguf(metadata)
    assert spec.ends == {256, 257, 259} and through_json(spec) == spec


@pytest.mark.parametrize(
    "value",
    ["<|im_end|>", ["<|im_end|>"], ["1"], [[1]], [True], [1.0], [-1], [300], 300, -1, True, {}, [1] * 100_000],
)  # fmt: skip
def test_hostile_lists_are_refused(value: object) -> None:
    spec = tiny_tokenizer()
    with pytest.raises(ModelFormatError, match="ends texts at") as caught:
        TokenizerSpec.from_json(spec.to_json(), spec.to_json_config(), 300, [value])
    assert len(str(caught.value)) < 300
    with pytest.raises(ModelFormatError, match="ends texts at"):
        TokenizerSpec.from_gguf(spec.to_gguf() | {"tokenizer.ggml.fim_sep_token_id": value})


@pytest.mark.parametrize("value", ["x", [299], 300, -1, True, 1.5])
@pytest.mark.parametrize("field", ["eot", "eom"])
def test_hostile_ids_of_gguf_are_refused(field: str, value: object) -> None:
    with pytest.raises(ModelFormatError, match=f"{field}_id is"):
        TokenizerSpec.from_gguf(tiny_tokenizer().to_gguf() | {f"tokenizer.ggml.{field}_token_id": value})


@pytest.mark.parametrize("end_ids", [5, [True], ["5"], [300], [-1]])
def test_hostile_specifications_are_refused(end_ids: Any) -> None:
    with pytest.raises(ModelFormatError, match="end"):
        tiny_tokenizer(end_ids=end_ids)
