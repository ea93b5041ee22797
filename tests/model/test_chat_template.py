"""Chat templates are programs from a file: whatever they do becomes text or one refusal."""

import os
import sys

import builders
import pytest

from bankai.checkpoint.synth import CHATML
from bankai.errors import UnsupportedModelError
from bankai.model import load, make_tokenizer
from bankai.model.chat import RESERVED, _renderer, render_chat
from bankai.model.generation import prompt_ids
from bankai.model.tokenizer import choose_chat_template
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
# What an unsandboxed template runs: the published attacks on servers that render those of GGUF files, and the ways
# out of jinja's sandbox that were mended in 3.1.5 and 3.1.6.
INJECTIONS = {
    "lipsum": "{{ lipsum.__globals__['os'].system('echo > MARK') }}",
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "cycler": "{{ cycler.__init__.__globals__.os.system('echo > MARK') }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "indirect format": "{% set f = '{0.__class__.__init__.__globals__}'.format %}{{ f(cycler) }}",
    "attr filter": "{{ ('{0.__class__.__init__.__globals__}'|attr('format'))(cycler) }}",
    "import": "{% import 'os' as os %}{{ os.system('echo > MARK') }}",
}
# Loops and texts without end, within the sandbox's own limits.
ENDLESS = {
    "loops": "{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}",
    "power": "{{ 9 ** (9 ** 9) }}",
}
ENORMOUS = {
    "text": "{{ 'a' * 10 ** 10 }}",
    "list": "{{ ([0] * 10 ** 10)|length }}",
    "format": "{{ '%9999999999d' % 1 }}",
    "padding": "{{ 'a'|center(10 ** 10) }}",
    "doubling": "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
}


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


def test_templates_of_which_none_is_the_default_are_named(tiny_gguf):
    model, _ = load(tiny_gguf)
    named = {"tool_use": CHATML, "rag": CHATML}
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=None, other_templates=named))
    probe = Probe(
        id="a", item="a", category="c", split="target", answers=("6",), messages=(Message("user", "ok"),)
    )
    told = "choose one by --chat-template: 'tool_use', 'rag'"
    with pytest.raises(ValueError, match=told):
        prompt_ids(model, tokenizer, "ok", chat=True)
    with pytest.raises(UnsupportedModelError, match=f"probe a: .*{told}"):
        context_text(probe, tokenizer)
    choose_chat_template(tokenizer, "rag")
    assert prompt_ids(model, tokenizer, "ok", chat=True) and context_text(probe, tokenizer)
    bare = make_tokenizer(builders.tiny_tokenizer(chat_template=None))
    with pytest.raises(ValueError, match="this model has no chat template; ask without it"):
        prompt_ids(model, bare, "ok", chat=True)


def test_generate_refuses_a_failing_template(tiny_gguf):
    model, _ = load(tiny_gguf)
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template="{{ 1/0 }}"))
    with pytest.raises(UnsupportedModelError, match="use a plain prompt"):
        prompt_ids(model, tokenizer, "ok", chat=True)


CHAT = [{"role": "user", "content": "ok é <|im_end|>"}, {"role": "assistant", "content": "6\n"}]
# What templates of the Llama family use: defaults, slices, dates, JSON and refusals of their own.
LLAMA = """{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = strftime_now("%d %b %Y") %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}{% set messages = messages[1:] %}
{%- else %}{% set system_message = "" %}{% endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{% endfor %}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.tool_calls|length != 1 %}{{- raise_exception("This model only supports single tool-calls!") }}
    {%- endif %}
    {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
SOUND = [
    CHATML,
    "{{ bos_token }}{{ eos_token }}{{ messages|tojson(indent=1) }}{{ namespace(a=1).a }}",
    "{%- for m in messages -%}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content|trim|upper }}{%- endfor %}",
    "{% generation %}{{ messages[0].content.split()[0] }}{% endgeneration %}{{ strftime_now('%Y')|length }}",
    "{% if tools is defined and tools %}t{% endif %}{{ add_generation_prompt }}",
    LLAMA,
]


@pytest.mark.parametrize("template", SOUND)
def test_chats_are_those_of_transformers(template):
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=template, bos_id=297))
    for chat in (CHAT, [{"role": "system", "content": " so "}, *CHAT]):
        expected = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        assert render_chat(tokenizer, chat) == expected


def refusal(template):
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=template))
    with pytest.raises(UnsupportedModelError, match="chat template of this model fails") as caught:
        render_chat(tokenizer, CHAT)
    return str(caught.value)


@pytest.mark.parametrize("name", INJECTIONS)
def test_injected_code_does_not_run(name, tmp_path):
    refusal(INJECTIONS[name].replace("MARK", str(tmp_path / "mark")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_without_end_is_stopped(name):
    """By the processor's time; and the next chat is rendered as if nothing had been."""
    assert "it takes too long" in refusal(ENDLESS[name])
    assert render_chat(make_tokenizer(builders.tiny_tokenizer(chat_template="{{ 1 }}")), CHAT) == "1"


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux keeps a process to an address space"
)
@pytest.mark.parametrize("name", ENORMOUS)
def test_a_template_cannot_fill_the_memory(name):
    assert "MemoryError" in refusal(ENORMOUS[name]) or "OverflowError" in refusal(ENORMOUS[name])


def test_variables_reach_the_template():
    """Those of a call before those that were chosen with the template; the model's special tokens are there too."""
    template = "{{ enable_thinking }} {{ style.of[0] if style is mapping else style }} {{ eos_token }}"
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template=template))
    assert render_chat(tokenizer, CHAT) == "  <|im_end|>"
    assert render_chat(tokenizer, CHAT, {"enable_thinking": False}) == "False  <|im_end|>"
    choose_chat_template(tokenizer, None, {"enable_thinking": True, "style": {"of": ["é"]}})
    assert render_chat(tokenizer, CHAT) == "True é <|im_end|>"
    assert render_chat(tokenizer, CHAT, {"style": None}) == "True None <|im_end|>"
    choose_chat_template(tokenizer, None)
    assert render_chat(tokenizer, CHAT) == "True é <|im_end|>", "as they are"


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_chat_itself_is_no_variable(name):
    tokenizer = make_tokenizer(builders.tiny_tokenizer())
    with pytest.raises(ValueError, match=f"{name} is no variable"):
        render_chat(tokenizer, CHAT, {name: []})


def test_a_second_process_does_not_share_the_renderer():
    """After a fork both would write into one pipe and read each other's chats."""
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template="{{ messages[0].content }}"))
    render_chat(tokenizer, [{"role": "user", "content": "before"}])
    ours = _renderer(os.getpid())
    assert _renderer(os.getpid()) is ours and _renderer(os.getpid() + 1) is not ours


def test_an_interrupted_question_is_not_answered_later(monkeypatch):
    tokenizer = make_tokenizer(builders.tiny_tokenizer(chat_template="{{ messages[0].content }}"))
    render_chat(tokenizer, [{"role": "user", "content": "first"}])

    def interrupt(line):
        raise KeyboardInterrupt

    monkeypatch.setattr("bankai.model.chat.json.loads", interrupt)
    with pytest.raises(KeyboardInterrupt):
        render_chat(tokenizer, [{"role": "user", "content": "second"}])
    monkeypatch.undo()
    assert render_chat(tokenizer, [{"role": "user", "content": "third"}]) == "third"
