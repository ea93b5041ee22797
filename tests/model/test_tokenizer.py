"""The tokenizer: exact byte round trips, splits of the pre-tokenizers, and llama.cpp as witness."""

import builders
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.checkpoint.tokenizer_spec import USER_DEFINED
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.model import make_tokenizer

TOKENIZER = make_tokenizer(builders.tiny_tokenizer())
TEXTS = [
    "the answer is 1234, isn't it?\n\n  x = 3.5 + y  \n",
    "  two  spaces\tand\ttabs \r\n\r\n end",
    "naïve café — 日本語 🙂 e\u0301 ½ ² ٣",
    "I'LL we'Re don't THE's 'sx 100000 3.14159",
    "def f(x):\n    return x**2  # ok\n\n\n",
    "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n",
    "$$ +1 <= 2 ^ 3 | ~4 a.b,c;d 12345",
    "\u00a0nbsp\u3000wide \u2028line",
    "नमस्ते दुनिया a\u0308bc \u0301x",
]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_round_trips(text):
    ids = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == text


def test_unicode_is_not_normalized():
    assert TOKENIZER("e\u0301")["input_ids"] != TOKENIZER("é")["input_ids"]


def test_special_tokens_are_one_token_and_skippable():
    ids = TOKENIZER("<|im_start|>ok<|im_end|>")["input_ids"]
    assert ids[0] == 298 and ids[-1] == 299 and 297 < 298
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == "ok"
    assert (TOKENIZER.eos_token_id, TOKENIZER.pad_token_id) == (299, 297)


def test_chat_template_is_the_file_s():
    text = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "ok"}], add_generation_prompt=True, tokenize=False
    )
    assert text == "<|im_start|>user\nok<|im_end|>\n<|im_start|>assistant\n"


def pieces(pre, text):
    backend = make_tokenizer(builders.tiny_tokenizer(pre=pre)).backend_tokenizer
    return [text[start:end] for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("qwen2", ["it", "'S", " ", "1", "2", "3", "4", " +", "x", "\n\n", " ", " y"]),
        ("gpt-2", ["it", "'", "S", " 1234", " +", "x", "\n\n ", " y"]),
        ("default", ["it", "'", "S", " ", "123", "4", " ", "+", "x", "\n\n ", " y"]),
    ],
)
def test_pre_tokenizers_split_as_specified(pre, expected):
    assert pieces(pre, "it'S 1234 +x\n\n  y") == expected


def test_marks_stay_with_their_letters_in_qwen35():
    text = "नमस्ते e\u0301 1"
    assert pieces("qwen35", text) == ["नमस्ते", " e\u0301", " ", "1"]
    assert len(pieces("qwen2", text)) > 4
    assert pieces("qwen35", "it'S 1234 +x\n\n  y") == pieces("qwen2", "it'S 1234 +x\n\n  y")


def test_begin_token_is_added_only_when_the_file_says_so():
    plain = make_tokenizer(builders.tiny_tokenizer(bos_id=297))
    added = make_tokenizer(builders.tiny_tokenizer(bos_id=297, add_bos=True))
    assert added("ok")["input_ids"] == [297, *plain("ok")["input_ids"]]
    assert added("ok", add_special_tokens=False)["input_ids"] == plain("ok")["input_ids"]


def test_user_defined_tokens_are_matched_but_not_special():
    spec = builders.tiny_tokenizer()
    types = list(spec.token_types)
    types[297] = USER_DEFINED
    tokenizer = make_tokenizer(builders.tiny_tokenizer(token_types=types, pad_id=None))
    assert tokenizer("<|endoftext|>")["input_ids"] == [297]
    assert tokenizer.decode([297], skip_special_tokens=True) == "<|endoftext|>"


def test_unknown_pre_tokenizer_is_refused():
    with pytest.raises(UnsupportedModelError, match="pre-tokenizer"):
        make_tokenizer(builders.tiny_tokenizer(pre="deepseek-llm"))


@pytest.mark.parametrize("merges", [["a"], ["a b c"], ["a zz"]])
def test_merges_that_do_not_fit_are_refused(merges):
    with pytest.raises(ModelFormatError):
        make_tokenizer(builders.tiny_tokenizer(merges=merges))


def test_a_token_named_twice_is_refused():
    tokens = builders.tiny_tokenizer().tokens
    with pytest.raises(ModelFormatError, match="twice"):
        make_tokenizer(builders.tiny_tokenizer(tokens=[*tokens[:-1], tokens[0]]))


@pytest.mark.engines
@pytest.mark.parametrize("pre", ["qwen2", "qwen35", "gpt-2", "default"])
def test_llama_cpp_tokenizes_the_same(pre, tmp_path):
    from llama_cpp import Llama

    spec = builders.tiny_tokenizer(pre=pre)
    path = builders.build_tiny_gguf(tmp_path / "tiny.gguf", tokenizer=spec)
    llama, tokenizer = Llama(str(path), vocab_only=True, verbose=False), make_tokenizer(spec)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == llama.tokenize(text.encode(), add_bos=False, special=True), (
            text
        )


@pytest.mark.parametrize("text", ["a b", "$A", "<$>", "a:1", "$"])
def test_begin_token_may_hold_the_syntax_of_templates(text):
    plain = builders.tiny_tokenizer()
    tokens = [*plain.tokens[:297], text, *plain.tokens[298:]] if text not in plain.tokens else plain.tokens
    index = tokens.index(text)
    made = make_tokenizer(builders.tiny_tokenizer(tokens=tokens, bos_id=index, add_bos=True))
    assert made("ok")["input_ids"][0] == index and len(made("ok")["input_ids"]) > 1
