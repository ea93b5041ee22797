"""Chat templates are programs from a file: whatever they do becomes text or one refusal."""

import builders
import pytest

from bankai.errors import UnsupportedModelError
from bankai.model import load, make_tokenizer
from bankai.model.generation import prompt_ids
from bankai.model.tokenizer import render_chat
from bankai.probes import Message, Probe
from bankai.probes.encode import context_text

FAILING = [
    "{{ raise_exception('x') }}",
    "{{ a.b.c }}",
    "{% for %}",
    "{{ 1/0 }}",
    "{{ 'a'+1 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ '\\ud800' }}",
    "{% include 'x' %}",
    "{{ ''.__class__.__mro__ }}",
    "{{ 'a' * 2000000 }}",
    "{{ 'a' * 10 ** 18 }}",
]


@pytest.mark.parametrize("template", FAILING)
def test_failing_template_is_one_refusal(template):
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=template))
    with pytest.raises(
        UnsupportedModelError, match="chat template of this model fails: .*; use a plain prompt"
    ):
        render_chat(tokenizer, [{"role": "user", "content": "ok"}])
    probe = Probe(
        id="a", item="a", category="c", split="target", answers=("6",), messages=(Message("user", "ok"),)
    )
    with pytest.raises(UnsupportedModelError, match="probe a: the chat template of this model fails"):
        context_text(probe, tokenizer)


def test_generate_refuses_a_failing_template(tiny_gguf):
    model, _ = load(tiny_gguf)
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template="{{ 1/0 }}"))
    with pytest.raises(UnsupportedModelError, match="use a plain prompt"):
        prompt_ids(model, tokenizer, "ok", chat=True)
