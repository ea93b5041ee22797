"""The tokenizer: exact byte round trips, splits of the pre-tokenizers, and llama.cpp as witness."""

import builders
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import varied_lines
from transformers import PreTrainedTokenizerFast

from bankai.checkpoint.end_tokens import find_ends
from bankai.checkpoint.gguf import GGUFFile
from bankai.checkpoint.pre_tokenizers import PRE_TOKENIZERS
from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL, USER_DEFINED, TokenizerSpec
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.model import make_tokenizer
from bankai.model.tokenizer import choose_chat_template, end_tokens

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


def llama_vocabulary(path):
    """llama.cpp's own tokenizer of a GGUF file."""
    from llama_cpp import Llama

    return Llama(str(path), vocab_only=True, verbose=False)


def llama_ends(llama):
    from llama_cpp import llama_model_get_vocab, llama_vocab_is_eog

    vocabulary = llama_model_get_vocab(llama._model.model)
    return {i for i in range(llama.n_vocab()) if llama_vocab_is_eog(vocabulary, i)}


def made_up(pre):
    """The tiny tokenizer with tokens that no merge makes, user-defined ones and a beginning of sequence."""
    plain = builders.tiny_tokenizer()
    added = {
        "hello": NORMAL,
        "Ġquestions": NORMAL,
        "<tool call>": USER_DEFINED,
        "\n\n": USER_DEFINED,
        "<s>": CONTROL,
    }
    return builders.tiny_tokenizer(
        pre,
        tokens=[*plain.tokens, *added],
        token_types=[*plain.token_types, *added.values()],
        bos_id=300 + list(added).index("<s>"),
        add_bos=PRE_TOKENIZERS[pre].add_bos,
    )


@pytest.mark.engines
@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_llama_cpp_tokenizes_the_same(pre, tmp_path):
    spec = made_up(pre)
    llama = llama_vocabulary(builders.build_tiny_gguf(tmp_path / "a.gguf", tokenizer=spec, vocab_size=305))
    tokenizer = make_tokenizer(spec)
    special = [text for text, kind in zip(spec.tokens, spec.token_types, strict=True) if kind != NORMAL]
    for text in [*TEXTS, "hello questions", *varied_lines(600, 1, [*special, "hello", " questions"])]:
        assert tokenizer(text)["input_ids"] == llama.tokenize(text.encode(), special=True), text
    assert end_tokens(tokenizer) == llama_ends(llama) == {297, 299}


@pytest.mark.engines
def test_llama_cpp_tokenizes_smollm2_the_same(smollm2):
    spec, llama = TokenizerSpec.from_gguf(GGUFFile(smollm2).metadata), llama_vocabulary(smollm2)
    tokenizer = make_tokenizer(spec)
    special = [text for text, kind in zip(spec.tokens, spec.token_types, strict=True) if kind == CONTROL]
    assert len(special) == 17
    for text in varied_lines(3000, 0, special):
        assert tokenizer(text)["input_ids"] == llama.tokenize(text.encode(), special=True), text
    assert end_tokens(tokenizer) == llama_ends(llama)
    assert {spec.tokens[i] for i in end_tokens(tokenizer)} == {"<|endoftext|>", "<|im_end|>", "<reponame>"}
    assert TokenizerSpec.from_json(spec.to_json(), spec.to_json_config(), len(spec.tokens)) == spec


# One text for each place of fill-in-the-middle at a time: of several llama.cpp takes any.
ENDS = [
    ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]",
     "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<｜end▁of▁sentence｜>", "[e~[",
     "<|fim_pad|>", "<|fim_repo|>", "<|file_sep|>", "<|end|>", "<|return|>"],
    ["<fim-pad>", "<|repo_name|>", "<|end|>", "<|return|>", "<|call|>", "</s>", "<|plamo:eos|>"],
    ["<fim_pad>", "<fim-repo>", "<|end|>", "<|flush|>", "<|calls|>", "</s>", "<|tool_response>"],
    ["<PAD>", "<REPO>", "<|end|>", "<|call|>"],
    ["[PAD]", "<reponame>", "<repo_name>", "<file_sep>", "<|fim_prefix|>", "<|im_start|>", "<s>", "<unk>"],
]  # fmt: skip


@pytest.mark.engines
@pytest.mark.parametrize("texts", ENDS)
@pytest.mark.parametrize("keys", [{}, {"eot_id": 5, "eom_id": 6}])
def test_llama_cpp_ends_texts_at_the_same_tokens(texts, keys, tmp_path):
    tokens = [*builders.tiny_tokenizer().tokens[:297], *texts]
    types = [NORMAL] * len(tokens)
    spec = builders.tiny_tokenizer(tokens=tokens, token_types=types, eos_id=7, pad_id=None, **keys)
    path = builders.build_tiny_gguf(tmp_path / "a.gguf", tokenizer=spec, vocab_size=len(tokens))
    assert end_tokens(make_tokenizer(spec)) == llama_ends(llama_vocabulary(path))


@pytest.mark.engines
def test_llama_cpp_ends_texts_at_fill_in_the_middle(tmp_path):
    """Where a key of the file names its tokens, their texts do not matter to llama.cpp."""
    tokens = [*builders.tiny_tokenizer().tokens[:297], "<a>", "<b>", "<c>"]
    spec = builders.tiny_tokenizer(tokens=tokens, token_types=[NORMAL] * 297 + [CONTROL] * 3, pad_id=None)
    more = {f"tokenizer.ggml.fim_{name}_token_id": 297 + n for n, name in enumerate(("pad", "rep", "sep"))}
    path = builders.build_tiny_gguf(tmp_path / "a.gguf", tokenizer=spec, metadata=more)
    read = TokenizerSpec.from_gguf(GGUFFile(path).metadata)
    assert read.ends == llama_ends(llama_vocabulary(path)) == {297, 298, 299}


@pytest.mark.parametrize("text", ["a b", "$A", "<$>", "a:1", "$"])
def test_begin_token_may_hold_the_syntax_of_templates(text):
    plain = builders.tiny_tokenizer()
    tokens = [*plain.tokens[:297], text, *plain.tokens[298:]] if text not in plain.tokens else plain.tokens
    index = tokens.index(text)
    made = make_tokenizer(builders.tiny_tokenizer(tokens=tokens, bos_id=index, add_bos=True))
    assert made("ok")["input_ids"][0] == index and len(made("ok")["input_ids"]) > 1


def test_all_ends_of_a_tokenizer():
    assert end_tokens(TOKENIZER) == {297, 299} == find_ends(builders.tiny_tokenizer().tokens, ())
    assert end_tokens(make_tokenizer(builders.tiny_tokenizer(eos_id=None, end_ids=[5]))) == {5, 297, 299}


def test_ends_of_a_tokenizer_from_elsewhere():
    foreign = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer, eos_token="<|im_end|>")
    assert end_tokens(foreign) == {299}
    assert end_tokens(PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)) == frozenset()


def test_chat_templates_by_name():
    spec = builders.tiny_tokenizer(chat_template="{{ 1 }}", other_templates={"tool_use": "{{ 2 }}"})
    tokenizer = make_tokenizer(spec)
    assert tokenizer.chat_template == "{{ 1 }}"
    choose_chat_template(tokenizer, "tool_use")
    assert tokenizer.chat_template == "{{ 2 }}"
    with pytest.raises(
        UnsupportedModelError, match="no chat template 'x'; those that it has: 'default', 'tool_use'"
    ):
        choose_chat_template(tokenizer, "x")
    assert tokenizer.chat_template == "{{ 2 }}"
    choose_chat_template(tokenizer, "default")
    assert tokenizer.chat_template == "{{ 1 }}"
    none = make_tokenizer(builders.tiny_tokenizer(chat_template=None))
    with pytest.raises(UnsupportedModelError, match="those that it has: none"):
        choose_chat_template(none, "default")
