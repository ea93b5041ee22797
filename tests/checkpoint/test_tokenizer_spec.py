"""TokenizerSpec: GGUF and tokenizer.json say the same, and the tokenizers library agrees with both."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import byte_alphabet, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from bankai.checkpoint.pre_tokenizers import PRE_TOKENIZERS
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, UNUSED, USER_DEFINED, TokenizerSpec
from bankai.errors import BankaiError, ModelFormatError, UnsupportedModelError

PRES = tuple(PRE_TOKENIZERS)
TEXT = "Hello, it's 12345 words:\n\n  the   answer\tis 3.5+x — été 日本 🎉  "


def rich() -> TokenizerSpec:
    """Control, user-defined and unused tokens, and a beginning of sequence."""
    spec = tiny_tokenizer()
    return msgspec.structs.replace(
        spec,
        tokens=[*spec.tokens, "<tool call>", "[PAD301]", "<s>"],
        token_types=[*spec.token_types, USER_DEFINED, UNUSED, CONTROL],
        bos_id=302,
        add_bos=True,
        eot_id=298,
        eom_id=300,
        other_templates={"tool_use": "{{ tools }}", "rag": "{{ documents }}"},
    )


def through_json(spec: TokenizerSpec) -> TokenizerSpec:
    tokenizer, config = json.loads(json.dumps([spec.to_json(), spec.to_json_config()]))
    return TokenizerSpec.from_json(tokenizer, config, len(spec.tokens))


@pytest.mark.parametrize(
    "spec", [rich(), *(tiny_tokenizer(pre) for pre in PRES), tiny_tokenizer(chat_template=None)]
)
def test_round_trips(spec: TokenizerSpec) -> None:
    assert TokenizerSpec.from_gguf(spec.to_gguf()) == spec
    assert through_json(spec) == spec


def test_no_merges_at_all() -> None:
    spec = TokenizerSpec(tokens=byte_alphabet(), merges=[], token_types=[NORMAL] * 256)
    assert TokenizerSpec.from_gguf(spec.to_gguf()) == spec == through_json(spec)


@pytest.mark.parametrize("pre", PRES)
def test_the_tokenizers_library_reads_it_and_loses_nothing(pre: str) -> None:
    spec = tiny_tokenizer(pre)
    tokenizer = Tokenizer.from_str(json.dumps(spec.to_json()))
    for i, text in enumerate(spec.tokens):
        assert tokenizer.token_to_id(text) == i
    assert tokenizer.decode(tokenizer.encode(TEXT).ids) == TEXT
    assert tokenizer.encode("<|im_end|>").ids == [299]
    assert through_json(spec) == TokenizerSpec.from_json(
        json.loads(tokenizer.to_str()), spec.to_json_config(), len(spec.tokens)
    )


@given(st.text(max_size=40))
def test_any_text_survives(text: str) -> None:
    """Byte-level: nothing is unknown. (gpt-2, because qwen2 normalizes to NFC as Qwen's own file does.)"""
    tokenizer = Tokenizer.from_str(json.dumps(tiny_tokenizer("gpt-2").to_json()))
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def splits(pre: str, text: str) -> list[str]:
    tokenizer = Tokenizer.from_str(json.dumps(tiny_tokenizer(pre).to_json()))
    return [text[slice(*place)] for _, place in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def test_pre_tokenizers_split_as_their_models_do() -> None:
    """qwen2: single digits. gpt-2: whole numbers. default (llama.cpp's): runs of three digits, symbols apart."""
    assert splits("qwen2", "it's 12345+1") == ["it", "'s", " ", "1", "2", "3", "4", "5", "+", "1"]
    assert splits("gpt-2", "it's 12345+1") == ["it", "'s", " 12345", "+", "1"]
    assert splits("default", "x 12345+1") == ["x", " ", "123", "45", "+", "1"]


def test_gpt2_split_is_that_of_the_library() -> None:
    """ByteLevel with its built-in pattern is read as gpt-2 and cuts as our spelling of it does."""
    spec = tiny_tokenizer("gpt-2")
    built_in = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    tokenizer = spec.to_json() | {"pre_tokenizer": built_in}
    assert TokenizerSpec.from_json(tokenizer, spec.to_json_config(), len(spec.tokens)) == spec
    theirs, ours = Tokenizer.from_str(json.dumps(tokenizer)), Tokenizer.from_str(json.dumps(spec.to_json()))
    assert theirs.encode(TEXT).ids == ours.encode(TEXT).ids


def test_transformers_loads_the_files(tmp_path: Path) -> None:
    spec = rich()
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec.to_json()))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(spec.to_json_config()))
    by_file = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    auto = AutoTokenizer.from_pretrained(tmp_path)
    text = "the question<|im_end|><tool call> the"
    pieces = ["<s>", "the", "Ġ", "question", "<|im_end|>", "<tool call>", "Ġthe"]
    for tokenizer in (by_file, auto):
        assert tokenizer.convert_ids_to_tokens(tokenizer.encode(text)) == pieces
    assert (auto.eos_token_id, auto.pad_token_id, auto.bos_token_id) == (299, 297, 302)
    chat = auto.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert auto.decode(auto.encode("the 3"), skip_special_tokens=True) == "the 3"
    assert auto.chat_template == spec.templates


def test_older_merges_and_special_tokens_as_objects() -> None:
    spec = tiny_tokenizer()
    tokenizer, config = spec.to_json(), spec.to_json_config()
    tokenizer["model"]["merges"] = spec.merges
    config["eos_token"] = {"content": "<|im_end|>", "lstrip": False}
    assert TokenizerSpec.from_json(tokenizer, config, len(spec.tokens)) == spec


def test_official_style_keeps_special_tokens_out_of_the_vocabulary() -> None:
    spec = rich()
    tokenizer = spec.to_json()
    for i, kind in enumerate(spec.token_types):
        if kind != NORMAL:
            del tokenizer["model"]["vocab"][spec.tokens[i]]
    assert TokenizerSpec.from_json(tokenizer, spec.to_json_config(), len(spec.tokens)) == spec


def test_padded() -> None:
    spec = tiny_tokenizer()
    more = spec.padded(302)
    assert more.tokens[300:] == ["[PAD300]", "[PAD301]"] and more.token_types[300:] == [UNUSED, UNUSED]
    assert spec.padded(300) is spec
    assert through_json(more) == more
    with pytest.raises(ModelFormatError, match="rows of embedding"):
        spec.padded(299)


def test_gguf_defaults_and_aliases() -> None:
    metadata = tiny_tokenizer().to_gguf() | {"tokenizer.ggml.pre": "gpt2"}
    assert TokenizerSpec.from_gguf(metadata).pre == "gpt-2"
    del metadata["tokenizer.ggml.pre"], metadata["tokenizer.ggml.token_type"]
    spec = TokenizerSpec.from_gguf(metadata)
    assert spec.pre == "default" and set(spec.token_types) == {NORMAL}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": None}, "not a list of texts"),
        ({"tokens": 5}, "not a list of texts"),
        ({"tokens": []}, "not a list of texts"),
        ({"tokens": [1] * 300}, "not a list of texts"),
        ({"tokens": ["\ud800"] * 300}, "not a list of texts"),
        ({"tokens": ["a"] * 300}, "occurs twice"),
        ({"token_type": [1]}, "token types"),
        ({"token_type": "x"}, "token types"),
        ({"token_type": [9] * 300}, "token type is not"),
        ({"token_type": [[1]] * 300}, "token type is not"),
        ({"token_type": [True] * 300}, "token type is not"),
        ({"merges": [1]}, "merges are not"),
        ({"merges": ["ab"]}, "merge 'ab'"),
        ({"merges": ["a b c"]}, "merge 'a b c'"),
        ({"merges": ["Q Z"]}, "merge 'Q Z'"),
        ({"eos_token_id": 300}, "eos_id is 300"),
        ({"eos_token_id": -1}, "eos_id is -1"),
        ({"bos_token_id": 1.5}, "bos_id is 1.5"),
        ({"padding_token_id": True}, "pad_id is True"),
        ({"add_bos_token": True}, "beginning-of-sequence"),
        ({"add_bos_token": 1}, "beginning-of-sequence"),
    ],
)
def test_damaged_gguf(changes: dict[str, Any], message: str) -> None:
    metadata = tiny_tokenizer().to_gguf() | {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    with pytest.raises(ModelFormatError, match=message):
        TokenizerSpec.from_gguf(metadata)


def test_a_template_must_be_text() -> None:
    with pytest.raises(ModelFormatError, match="chat template"):
        TokenizerSpec.from_gguf(tiny_tokenizer().to_gguf() | {"tokenizer.chat_template": 3})


NAMES = st.text(min_size=1, max_size=100).filter(lambda name: name != "default" and name.isprintable())


@given(
    default=st.none() | st.text(max_size=9), others=st.dictionaries(NAMES, st.text(max_size=9), max_size=4)
)
def test_named_templates_survive_both_formats(default: str | None, others: dict[str, str]) -> None:
    spec = tiny_tokenizer(chat_template=default, other_templates=others)
    assert TokenizerSpec.from_gguf(spec.to_gguf()) == spec == through_json(spec)
    assert spec.templates == others | ({} if default is None else {"default": default})


def test_templates_as_llama_cpp_s_converter_writes_them() -> None:
    metadata = tiny_tokenizer(chat_template="a").to_gguf() | {
        "tokenizer.chat_templates": ["tool_use", "default"],
        "tokenizer.chat_template.tool_use": "b",
        "tokenizer.chat_template.unlisted": "c",
    }
    assert TokenizerSpec.from_gguf(metadata).templates == {"default": "a", "tool_use": "b", "unlisted": "c"}
    del metadata["tokenizer.chat_template"]
    assert TokenizerSpec.from_gguf(metadata).chat_template is None
    metadata["tokenizer.chat_template.default"] = "d"
    assert TokenizerSpec.from_gguf(metadata).chat_template == "d"


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.chat_templates": 3},
        {"tokenizer.chat_templates": "tool_use"},
        {"tokenizer.chat_templates": ["absent"]},
        {"tokenizer.chat_templates": [["tool_use"]]},
        {"tokenizer.chat_template.tool_use": 3},
        {"tokenizer.chat_template.tool_use": "\ud800"},
        {"tokenizer.chat_template.": "x"},
        {"tokenizer.chat_template." + "x" * 101: "x"},
        {f"tokenizer.chat_template.{n}": "x" for n in range(65)},
    ],
)
def test_hostile_templates_of_gguf(change: dict[str, Any]) -> None:
    with pytest.raises(ModelFormatError, match="chat template") as caught:
        TokenizerSpec.from_gguf(tiny_tokenizer().to_gguf() | change)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value",
    [
        3,
        {"default": "x"},
        ["x"],
        [{"name": "x"}],
        [{"name": 3, "template": "x"}],
        [{"name": "x", "template": 3}],
        [{"name": "", "template": "x"}],
        [{"name": "\ud800", "template": "x"}],
        [{"name": f"{n}", "template": "x"} for n in range(65)],
    ],
)
def test_hostile_templates_of_json(value: object) -> None:
    spec = tiny_tokenizer()
    with pytest.raises(ModelFormatError, match="chat.template"):
        TokenizerSpec.from_json(spec.to_json(), spec.to_json_config() | {"chat_template": value}, 300)


@pytest.mark.parametrize(
    ("key", "value"), [("model", "llama"), ("model", None), ("pre", "tekken"), ("pre", [1])]
)
def test_unsupported_gguf(key: str, value: object) -> None:
    with pytest.raises(UnsupportedModelError):
        TokenizerSpec.from_gguf(tiny_tokenizer().to_gguf() | {f"tokenizer.ggml.{key}": value})


@pytest.mark.parametrize(
    "change",
    [
        lambda t, c: t.pop("model"),
        lambda t, c: t["model"].update(type="Unigram"),
        lambda t, c: t["model"].update(vocab=[]),
        lambda t, c: t["model"]["vocab"].update(x=0),
        lambda t, c: t["model"]["vocab"].update(new=300),
        lambda t, c: t["model"]["vocab"].update(new=-1),
        lambda t, c: t["model"]["vocab"].update(new="3"),
        lambda t, c: t["model"].update(merges=5),
        lambda t, c: t["model"].update(merges=[5]),
        lambda t, c: t["model"].update(merges=[["a", "b", "c"]]),
        lambda t, c: t["model"].update(merges=[["a"]]),
        lambda t, c: t.update(added_tokens=[5]),
        lambda t, c: t.update(added_tokens=[{"id": 0}]),
        lambda t, c: t.update(added_tokens=5),
        lambda t, c: t.update(pre_tokenizer=None),
        lambda t, c: t["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": "."}),
        lambda t, c: t["pre_tokenizer"]["pretokenizers"].insert(0, 5),
        lambda t, c: t["pre_tokenizer"]["pretokenizers"].pop(),
        lambda t, c: c.update(eos_token="absent"),
        lambda t, c: c.update(eos_token=5),
        lambda t, c: c.update(eos_token={"content": ["x"]}),
        lambda t, c: c.update(chat_template=[{"name": "default"}]),
    ],
)  # fmt: skip
def test_damaged_json(change) -> None:  # type: ignore[no-untyped-def]
    spec = tiny_tokenizer()
    tokenizer, config = spec.to_json(), spec.to_json_config()
    assert TokenizerSpec.from_json(tokenizer, config, 300) == spec
    change(tokenizer, config)
    with pytest.raises(BankaiError):
        TokenizerSpec.from_json(tokenizer, config, 300)
