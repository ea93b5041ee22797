"""Pre-tokenizers: llama.cpp's names, and the spellings of published tokenizer.json files."""

import copy
import json
from typing import Any

import pytest
from builders import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from lines import varied_lines
from tokenizers import Tokenizer

from bankai.checkpoint.pre_tokenizers import PRE_TOKENIZERS, canonical_name, name_in_json
from bankai.checkpoint.tokenizer_spec import TokenizerSpec
from bankai.errors import UnsupportedModelError
from bankai.model import make_tokenizer

WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def split(regex: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def byte_level(*, trim_offsets: bool, use_regex: bool) -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": trim_offsets,
        "use_regex": use_regex,
    }


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


# As the models' own tokenizer.json files have them.
PUBLISHED = {
    "gpt-2": byte_level(trim_offsets=True, use_regex=True),
    "smollm": sequence(
        {"type": "Digits", "individual_digits": True}, byte_level(trim_offsets=True, use_regex=True)
    ),
    "qwen2": sequence(
        split("(?i:'s|'t|'re|'ve|'m|'ll|'d)" + WORDS % ""), byte_level(trim_offsets=False, use_regex=False)
    ),
    "llama-bpe": sequence(
        split("(?i:'s|'t|'re|'ve|'m|'ll|'d)" + WORDS % "{1,3}"),
        byte_level(trim_offsets=True, use_regex=False),
    ),
}


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_names_survive_json(name: str) -> None:
    assert canonical_name(name) == name
    assert name_in_json(json.loads(json.dumps(PRE_TOKENIZERS[name].to_json()))) == name
    plain = [*map(split, PRE_TOKENIZERS[name].expressions), byte_level(trim_offsets=True, use_regex=False)]
    assert name_in_json(sequence(*plain)) == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_known(name: str) -> None:
    assert name_in_json(PUBLISHED[name]) == name


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_what_is_written_cuts_as_llama_cpp_does(name: str) -> None:
    """The file in the `tokenizers` library, and ours with llama.cpp's expressions. NFC is in Qwen's files only."""
    spec = tiny_tokenizer(name)
    written = Tokenizer.from_str(json.dumps(spec.to_json() | {"normalizer": None}))
    ours = make_tokenizer(spec)
    for line in varied_lines(400, 5, spec.tokens[297:]):
        line = line.replace("ſ", "s")  # which "(?i:'s)" takes for an s
        assert written.encode(line).ids == ours(line)["input_ids"], line


@pytest.mark.parametrize(
    ("alias", "name"),
    [("llama3", "llama-bpe"), ("llama-v3", "llama-bpe"), ("falcon3", "llama-bpe"), ("gpt2", "gpt-2"),
     ("deepseek-r1-qwen", "qwen2")],
)  # fmt: skip
def test_other_names_of_the_same(alias: str, name: str) -> None:
    assert canonical_name(alias) == name == tiny_tokenizer(alias, bos_id=297).pre


@pytest.mark.parametrize(
    "name", ["tekken", "smaug-bpe", "dbrx", "stablelm2", "", None, 3, ["qwen2"], "x" * 500]
)
def test_unknown_names_are_refused(name: object) -> None:
    with pytest.raises(UnsupportedModelError, match="is not supported yet; only default, gpt-2") as caught:
        canonical_name(name)
    assert len(str(caught.value)) < 300


DAMAGED = [
    None, 3, [], {}, {"type": "Whitespace"}, sequence(), {"type": "Sequence", "pretokenizers": 3},
    sequence(byte_level(trim_offsets=True, use_regex=False)),
    sequence({"type": "Digits", "individual_digits": False}, byte_level(trim_offsets=True, use_regex=True)),
    sequence(PUBLISHED["qwen2"]["pretokenizers"][0]),
    PUBLISHED["gpt-2"] | {"add_prefix_space": True},
    PUBLISHED["gpt-2"] | {"use_regex": [[[]]]},
    sequence(PUBLISHED["qwen2"], byte_level(trim_offsets=True, use_regex=False)),
]  # fmt: skip


@pytest.mark.parametrize("value", DAMAGED)
def test_other_pre_tokenizers_are_refused(value: object) -> None:
    with pytest.raises(UnsupportedModelError, match="this pre-tokenizer is not supported"):
        name_in_json(value)


@given(data=st.data(), name=st.sampled_from(sorted(PUBLISHED)))
def test_a_changed_setting_is_refused_or_changes_no_cut(data: st.DataObject, name: str) -> None:
    changed = copy.deepcopy(PUBLISHED[name])
    steps = changed.get("pretokenizers", [changed])
    step = data.draw(st.sampled_from(steps))
    key = data.draw(st.sampled_from(sorted(step)))
    step[key] = data.draw(st.sampled_from([None, True, False, "x", "Removed", {"String": " "}, 7]))
    try:
        found = name_in_json(changed)
    except UnsupportedModelError:
        return
    assert found == name and (key in ("trim_offsets", "invert") or changed == PUBLISHED[name])


def test_llama_3_files_keep_whole_tokens_and_begin_texts() -> None:
    """A published file says so by `ignore_merges` and by its post-processor; tokenizer_config.json does not."""
    spec = tiny_tokenizer("llama-bpe", bos_id=297, add_bos=True)
    tokenizer, config = spec.to_json(), spec.to_json_config()
    assert tokenizer["model"]["ignore_merges"] is True
    del config["add_bos_token"]
    trimming = byte_level(trim_offsets=True, use_regex=False)
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [trimming, tokenizer["post_processor"]]}
    assert TokenizerSpec.from_json(tokenizer, config, 300) == spec
    del config["bos_token"], tokenizer["model"]["ignore_merges"]  # as files of before that setting have it
    assert TokenizerSpec.from_json(tokenizer, config, 300) == spec
    tokenizer["model"]["ignore_merges"] = False
    with pytest.raises(UnsupportedModelError, match="without ignore_merges"):
        TokenizerSpec.from_json(tokenizer, config, 300)
    tokenizer["model"]["ignore_merges"] = True
    config["bos_token"] = spec.tokens[298]
    with pytest.raises(UnsupportedModelError, match="before every text"):
        TokenizerSpec.from_json(tokenizer, config, 300)


def test_defaults_of_gguf_files() -> None:
    """Without a key: Llama 3 begins every text with its token, SmolLM does not."""
    for pre, begins in (("smollm", False), ("llama-bpe", True)):
        metadata = tiny_tokenizer(pre, bos_id=297).to_gguf()
        assert TokenizerSpec.from_gguf(metadata).add_bos is False
        del metadata["tokenizer.ggml.add_bos_token"]
        assert TokenizerSpec.from_gguf(metadata).add_bos is begins


def test_digits_alone_in_smollm_and_in_threes_in_llama() -> None:
    def pieces(pre: str) -> list[str]:
        backend = make_tokenizer(tiny_tokenizer(pre)).backend_tokenizer
        text = "it'S 12345"
        return [text[slice(*place)] for _, place in backend.pre_tokenizer.pre_tokenize_str(text)]

    assert pieces("smollm") == ["it", "'", "S", " ", "1", "2", "3", "4", "5"]
    assert pieces("llama-bpe") == ["it", "'S", " ", "123", "45"]


def test_llama_keeps_a_token_that_no_merge_makes() -> None:
    plain = tiny_tokenizer("llama-bpe")
    tokens = [*plain.tokens[:296], "hello", *plain.tokens[297:]]
    spec = tiny_tokenizer("llama-bpe", tokens=tokens, merges=plain.merges[:40])
    assert make_tokenizer(spec)("hello")["input_ids"] == [296]
    other = tiny_tokenizer("smollm", tokens=tokens, merges=plain.merges[:40])
    assert len(make_tokenizer(other)("hello")["input_ids"]) == 5
