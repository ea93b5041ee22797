"""Requests as clients write them: what asks for nothing passes at every depth, and a refusal names its field."""

import json
from typing import Any

import pytest
from asked import CHAT, TEXT, Ask, Client, refusal
from openai.types.chat import ChatCompletion

USER = {"role": "user", "content": "what is the answer"}
SAID = {"role": "assistant", "content": "5"}

NOTHING_IN_AN_ANSWER: list[dict[str, Any]] = [
    {"refusal": None},
    {"tool_calls": []},
    {"tool_calls": None},
    {"annotations": [], "audio": None, "function_call": None},
    {"reasoning_content": "", "reasoning": None},
    {"cache_control": {"type": "ephemeral"}},
    {"content": [{"type": "text", "text": "5", "cache_control": {"type": "ephemeral"}, "annotations": []}]},
    {"unheard_of": None},
]

NOTHING: list[dict[str, Any]] = [
    {"logprobs": False, "top_logprobs": 0},
    {"top_logprobs": 0},
    {"top_logprobs": None, "logprobs": None},
    {"repetition_penalty": 1.0},
    {"min_p": 0},
    {"min_p": 0.0, "top_k": -1, "typical_p": 1.0},
    {"stream_options": {"include_obfuscation": False}},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {}},
    {"stream_options": None, "unheard_of": None},
    {"tools": [], "tool_choice": "auto"},
    {"functions": [], "function_call": "auto"},
    {"reasoning_effort": "none", "verbosity": "medium", "store": False, "modalities": ["text"]},
    {"ignore_eos": False, "skip_special_tokens": True, "min_tokens": 0, "use_beam_search": False},
    {"response_format": {"type": "text"}, "n": 1, "best_of": 1, "echo": False},
    {"add_generation_prompt": True, "continue_final_message": False, "documents": []},
    {"stop": [], "stop_token_ids": [], "patches": [], "chat_template_kwargs": {}},
    {"prompt_cache_key": "x", "prompt_cache_retention": "24h", "cache_prompt": True, "user": "me"},
]


@pytest.mark.parametrize("fields", NOTHING_IN_AN_ANSWER, ids=str)
def test_an_answer_may_be_sent_back(serve: Ask, fields: dict[str, Any]) -> None:
    async def test(client: Client) -> None:
        plain = await client.chat(messages=[USER, SAID, USER])
        found = await client.chat(messages=[USER, SAID | fields, USER])
        assert found.json()["choices"] == plain.json()["choices"]

    serve(test)


@pytest.mark.parametrize("fields", NOTHING, ids=str)
def test_what_asks_for_nothing_changes_nothing(serve: Ask, fields: dict[str, Any]) -> None:
    async def test(client: Client) -> None:
        assert (await client.chat(**fields)).json()["choices"] == (await client.chat()).json()["choices"]

    serve(test)


def test_of_a_stream_and_of_completions_too(serve: Ask) -> None:
    async def test(client: Client) -> None:
        options = {"include_obfuscation": False, "include_usage": None, "continuous_usage_stats": False}
        plain = await client.chat(stream=True)
        found = await client.chat(stream=True, stream_options=options)
        assert found.status_code == 200 and found.text.count("data: ") == plain.text.count("data: ")
        fields = {"logprobs": False, "suffix": "", "echo": False, "add_special_tokens": True, "tools": []}
        found, plain = await client.complete(**fields), await client.complete()
        assert found.json()["choices"] == plain.json()["choices"]

    serve(test)


@pytest.mark.parametrize("silence", [{"content": None}, {}, {"content": []}, {"content": ""}], ids=str)
def test_an_assistant_may_have_said_nothing(serve: Ask, silence: dict[str, Any]) -> None:
    async def test(client: Client) -> None:
        plain = await client.chat(messages=[USER, SAID | {"content": ""}, USER])
        found = await client.chat(messages=[USER, {"role": "assistant"} | silence, USER])
        assert found.json()["choices"] == plain.json()["choices"]

    serve(test)


def test_a_name_is_for_the_template(serve: Ask, loaded: tuple[Any, Any], monkeypatch: Any) -> None:
    async def test(client: Client) -> None:
        for name in ("Ada", "", None):
            answer = await client.chat(messages=[USER | {"name": name}])
            assert answer.json()["choices"] == (await client.chat()).json()["choices"]
        template = "{{ messages[0].name or 'nobody' }}"
        monkeypatch.setattr(loaded[1], "chat_template", template)
        tokens = [
            (await client.chat(messages=[USER | {"name": name}])).json()["usage"]["prompt_tokens"]
            for name in ("Ada Lovelace", "")
        ]
        assert tokens == [len(loaded[1].encode(name)) for name in ("Ada Lovelace", "nobody")]

    serve(test)


def test_every_message_of_ours_is_taken_back(serve: Ask) -> None:
    """As the official client has it: with what was sent, and with all fields that it knows."""

    async def test(client: Client) -> None:
        answer = await client.chat()
        message = ChatCompletion.model_validate(answer.json()).choices[0].message
        for sent in (answer.json()["choices"][0]["message"], message.model_dump(), message.to_dict()):
            assert (await client.chat(messages=[USER, sent, USER])).status_code == 200

    serve(test)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"stop": list("abcde")}, "stop", "at most 4"),
    ({"stop": [""]}, "stop", "at least 1"),
    ({"stop": ["x" * 201]}, "stop", "at most 200"),
    ({"stop": "x" * 201}, "stop", "at most 200"),
    ({"stop": ["a", 5]}, "stop", "valid string"),
    ({"messages": [USER | {"content": [{"type": "text"}]}]}, "messages", "content.text: Field required"),
    ({"messages": [USER | {"content": None}]}, "messages", "content: Field required"),
    ({"messages": [USER | {"tool_calls": [{"id": "x"}]}]}, "messages", "messages.tool_calls: not supported"),
    ({"messages": [SAID | {"refusal": "no"}]}, "messages", "messages.refusal: not supported"),
    ({"n": 2}, "n", "n: not supported by this server; leave it out"),
    ({"best_of": 3}, "best_of", "not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
    ({"repetition_penalty": 1.2}, "repetition_penalty", "not supported"),
    ({"min_p": 0.1}, "min_p", "not supported"),
    ({"top_logprobs": 3}, "top_logprobs", "logprobs: true"),
    ({"top_logprobs": 3, "logprobs": False}, "top_logprobs", "logprobs: true"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "stream: true"),
    (
        {"stream_options": {"include_obfuscation": True}},
        "stream_options",
        "include_obfuscation: not supported",
    ),
    ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs", "messages is no variable"),
    ({"chat_template_kwargs": {"tools": [{}]}}, "chat_template_kwargs", "tools is no variable"),
    ({"chat_template_kwargs": 5}, "chat_template_kwargs", "an object"),
    ({"stop_token_ids": ["5"]}, "stop_token_ids", "valid integer"),
    ({"messages": [{"role": "user", "content": "x " * 300}]}, "messages", "context"),
]


@pytest.mark.parametrize(("fields", "param", "message"), REFUSED, ids=lambda one: str(one)[:60])
def test_a_refusal_names_the_field_and_the_fault(
    serve: Ask, fields: dict[str, Any], param: str, message: str
) -> None:
    async def test(client: Client) -> None:
        error = refusal(await client.chat(**fields), 400)
        assert (error["param"], message in error["message"]) == (param, True), error["message"]

    serve(test)


def test_so_does_one_of_a_completion(serve: Ask) -> None:
    async def test(client: Client) -> None:
        for fields, param in (
            ({"prompt": ["a", "b"]}, "prompt"),
            ({"prompt": [300]}, "prompt"),
            ({"prompt": ""}, "prompt"),
            ({"prompt": "x " * 300}, "prompt"),
            ({"n": 2}, "n"),
            ({"suffix": "x"}, "suffix"),
            ({"logprobs": 21}, "logprobs"),
            ({"logprobs": True}, "logprobs"),
        ):
            assert refusal(await client.complete(**fields), 400)["param"] == param

    serve(test)


def test_a_byte_order_mark_is_no_part_of_a_request(serve: Ask) -> None:
    async def test(client: Client) -> None:
        headers = {"Content-Type": "application/json; charset=utf-8"}
        settings = {"model": "tiny", "temperature": 0, "max_tokens": 4}
        for path, fields in ((CHAT, {"messages": [USER]}), (TEXT, {"prompt": "é"})):
            body = json.dumps(settings | fields, ensure_ascii=False)
            plain, marked = [
                await client.http.post(path, content=body.encode(encoding), headers=headers)
                for encoding in ("utf-8", "utf-8-sig")
            ]
            assert marked.json()["choices"] == plain.json()["choices"]
            twice = b"\xef\xbb\xbf" + body.encode("utf-8-sig")
            refusal(await client.http.post(path, content=twice, headers=headers), 400)

    serve(test)


def test_whoever_asks_for_the_head_gets_no_body(serve: Ask) -> None:
    async def test(client: Client) -> None:
        for path in ("/health", "/v1/models", "/v1/models/tiny", "/v1/models/tiny+up"):
            head, whole = await client.http.head(path), await client.http.get(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"] == whole.headers["content-type"]
        assert (await client.http.head("/v1/models/other")).status_code == 404
        assert (await client.http.head(CHAT)).status_code == 405

    serve(test)


THINKING = (
    "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %} no{% endif %}"
    "{{ style }}{{ bos_token }}"
)


def test_variables_of_the_template(serve: Ask, loaded: tuple[Any, Any], monkeypatch: Any) -> None:
    """Of a request before those of the server; nobody's are another's."""
    tokenizer = loaded[1]
    monkeypatch.setattr(tokenizer, "chat_template", THINKING)
    monkeypatch.setattr(tokenizer, "chat_template_kwargs", {"style": " is of"})

    async def test(client: Client) -> None:
        for variables, text in (
            (None, "what is the answer is of"),
            ({"enable_thinking": True}, "what is the answer is of"),
            ({"enable_thinking": False}, "what is the answer no is of"),
            ({"enable_thinking": False, "style": None}, "what is the answer noNone"),
            ({"style": "", "unused": [{"a": 1}]}, "what is the answer"),
            (None, "what is the answer is of"),
        ):
            said = (await client.chat(chat_template_kwargs=variables)).json()["choices"][0]["message"]
            plain = (await client.complete(prompt=text)).json()["choices"][0]
            assert said["content"] == plain["text"]
        fails = await client.chat(chat_template_kwargs={"style": {"a": 1}, "bos_token": 1})
        assert fails.status_code == 200

    serve(test)
