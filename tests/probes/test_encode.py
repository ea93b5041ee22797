"""Encoding in context: where the answer begins, merges at the border, chats and stops."""

import builders
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bankai.errors import ProbeFormatError, UnsupportedModelError
from bankai.model import make_tokenizer
from bankai.probes import Message, Probe
from bankai.probes.encode import context_ids, context_text, encode, encode_answer

TOKENIZER = make_tokenizer(builders.tiny_tokenizer())
WORDS = st.text(st.sampled_from("the answer is 0\néあ🙂ing"), min_size=1, max_size=12)


def probe(prompt="the question is", answers=(" 6",), **changes):
    return Probe(id="a", item="a", category="c", split="target", prompt=prompt, answers=answers, **changes)


@given(prompt=WORDS, prefix=st.just("") | WORDS, answer=WORDS)
def test_ids_spell_the_whole_text_and_split_at_the_answer(prompt, prefix, answer):
    whole = f"{prompt}{prefix}{answer}\n"
    # Byte lengths, since a token may hold part of a character; one character of the byte alphabet per byte.
    border = len((prompt + prefix).encode())
    if len(TOKENIZER.tokenize(whole)[0]) > border:  # no token is the prompt's, such as " t" after " "
        with pytest.raises(ProbeFormatError, match="no token for the prompt"):
            encode_answer(probe(prompt, prefix=prefix), answer, TOKENIZER)
        return
    found = encode_answer(probe(prompt, prefix=prefix), answer, TOKENIZER)
    assert found.ids == tuple(TOKENIZER(whole)["input_ids"]) == found.context + found.answer
    ends, length = [], 0
    for token in TOKENIZER.convert_ids_to_tokens(found.ids):
        length += len(token)
        ends.append(length)
    before, at = ends[found.answer_start - 1], ends[found.answer_start]
    assert before <= border < at


def test_clean_border_leaves_the_prompt_s_own_tokens():
    item = probe(answers=(" 6", " 63"))
    six, sixty_three = encode(item, TOKENIZER)
    assert six.context == sixty_three.context == context_ids(item, TOKENIZER)
    assert TOKENIZER.decode(six.answer) == " 6\n" and TOKENIZER.decode(sixty_three.answer) == " 63\n"
    assert six.answer != sixty_three.answer[: len(six.answer)]


def test_straddling_token_goes_to_the_answer():
    item = probe("what i", answers=("ng",))
    (found,) = encode(item, TOKENIZER)
    assert TOKENIZER.decode(found.answer) == "ing\n"
    assert found.context != context_ids(item, TOKENIZER)


def test_chat_uses_the_template_and_the_end_of_turn():
    item = Probe(
        id="a", item="a", category="c", split="target", answers=("6",), prefix="It is ",
        messages=(Message("system", "ok"), Message("user", "what")),
    )  # fmt: skip
    assert context_text(item, TOKENIZER) == (
        "<|im_start|>system\nok<|im_end|>\n<|im_start|>user\nwhat<|im_end|>\n<|im_start|>assistant\nIt is "
    )
    (found,) = encode(item, TOKENIZER)
    assert found.ids[-1] == 299 and found.context == context_ids(item, TOKENIZER)
    assert found.ends == (297,)  # it ends a text for the model too
    assert found.targets == ((found.answer[0], found.answer[0]), (299, 297))
    (text,) = encode(msgspec.structs.replace(item, stop="<|im_end|>"), TOKENIZER)
    assert text.ids == found.ids and text.ends == () and text.targets == tuple((i,) for i in found.answer)


@given(prefix=st.just("") | WORDS, answer=WORDS, message=WORDS)
def test_the_end_of_the_turn_is_the_model_s_own(prefix, answer, message):
    """Tokens before it are those that a stop of text leaves; of several ends the usual one comes first."""
    item = probe(None, (answer,), prefix=prefix, messages=(Message("user", message),))
    (text,) = encode(msgspec.structs.replace(item, stop="<|im_end|>"), TOKENIZER)
    for changes, ends in (
        ({}, (299, 297)),
        ({"eos_id": 297}, (297, 299)),
        ({"eos_id": 5, "eot_id": 6}, (5, 6, 297, 299)),
    ):
        (found,) = encode(item, make_tokenizer(builders.tiny_tokenizer(**changes)))
        assert found.ids[:-1] == text.ids[:-1] and found.answer_start == text.answer_start
        assert (found.ids[-1], *found.ends) == ends == found.targets[-1]
        assert {len(row) for row in found.targets} == {len(ends)}


def test_a_model_without_ends_needs_a_stop():
    tokens = [*builders.tiny_tokenizer().tokens[:297], "<a>", "<b>", "<c>"]
    tokenizer = make_tokenizer(builders.tiny_tokenizer(tokens=tokens, eos_id=None, pad_id=None))
    item = probe(None, messages=(Message("user", "what"),))
    with pytest.raises(
        UnsupportedModelError, match="probe a: .* no token that ends a turn; give the probe a stop"
    ):
        encode(item, tokenizer)
    assert encode(msgspec.structs.replace(item, stop="!"), tokenizer)[0].ends == ()


def test_begin_token_is_added_once():
    tokenizer = make_tokenizer(builders.tiny_tokenizer(bos_id=297, add_bos=True))
    (plain,) = encode(probe(), tokenizer)
    assert plain.ids.count(297) == 1 and plain.ids[0] == 297
    chat = probe(None, messages=(Message("user", "what"),))
    assert encode(chat, tokenizer)[0].ids.count(297) == 0


def test_messages_without_a_template_are_refused():
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=None))
    with pytest.raises(UnsupportedModelError, match="no chat template"):
        encode(probe(None, messages=(Message("user", "what"),)), tokenizer)


def test_messages_that_the_template_refuses_are_refused():
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template="{{ raise_exception('users only') }}"))
    with pytest.raises(UnsupportedModelError, match="users only"):
        encode(probe(None, messages=(Message("user", "what"),)), tokenizer)


def test_variables_of_a_probe_reach_the_template():
    template = "{{ messages[0].content }}{% if enable_thinking == false %} no{% endif %}"
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=template))
    chat = probe(None, messages=(Message("user", "what"),))
    quiet = msgspec.structs.replace(chat, chat_template_kwargs={"enable_thinking": False})
    assert [context_text(one, tokenizer) for one in (chat, quiet)] == ["what", "what no"]
    with pytest.raises(ProbeFormatError, match="tools is no variable"):
        context_text(msgspec.structs.replace(chat, chat_template_kwargs={"tools": []}), tokenizer)


def test_text_without_tokens_is_refused():
    spec = builders.tiny_tokenizer()
    tokens = [*spec.tokens]
    tokens[ord("z")] = "<|spare|>"  # now nothing spells a z
    tokenizer = make_tokenizer(builders.tiny_tokenizer(tokens=tokens))
    with pytest.raises(ProbeFormatError, match="no token"):
        encode(probe("what", answers=("z",), stop="z"), tokenizer)
    with pytest.raises(ProbeFormatError, match="no token"):
        encode(probe("z"), tokenizer)
