"""Log-probabilities as clients use them: nothing is lost, bytes make the text, and given texts are scored."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from asked import Ask, Client, events, refusal
from builders import tiny_tokenizer
from lm_eval.models.openai_completions import LocalCompletionsAPI

from bankai.checkpoint.tokenizer_spec import CONTROL, NORMAL
from bankai.evaluation.engines import TorchEngine
from bankai.model import patched
from bankai.model.sampling import Choice
from bankai.model.tokenizer import make_tokenizer
from bankai.patch import Flip, Patch
from bankai.serving.catalog import Served
from bankai.serving.http.replies import CompletionReply

PROMPT = "what is the <|im_end|> é😀"
WILD = {"prompt": "ab", "temperature": 2, "seed": 0, "max_tokens": 40}


def rebuilt(token: str) -> bytes:
    """What a client makes of a token as it is spelled."""
    if not token.startswith("bytes:"):
        return token.encode()
    return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))


def hidden(token: str) -> bool:
    return token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def test_as_many_alternatives_as_were_asked_for(serve: Ask) -> None:
    """Of 300 tokens 128 are pieces of characters, which have no text that tells them apart."""

    async def test(client: Client) -> None:
        for count in (5, 20):
            choice = (await client.complete(**WILD, logprobs=count)).json()["choices"][0]
            assert {len(top) for top in choice["logprobs"]["top_logprobs"]} == {count}
            chat = (await client.chat(logprobs=True, top_logprobs=count)).json()["choices"][0]
            for one in chat["logprobs"]["content"]:
                assert len({bytes(other["bytes"]) for other in one["top_logprobs"]}) == count
        assert any(token.startswith("bytes:") for token in choice["logprobs"]["tokens"])

    serve(test)


def test_tokens_of_the_same_bytes_are_kept_apart() -> None:
    """A special token and a plain one may spell the same; the more likely one goes by its text."""
    spec = tiny_tokenizer()
    tokens = [*spec.tokens[:256], "ä¸", "ä¸Ń", *spec.tokens[-3:], "中"]
    kinds = [NORMAL] * 258 + [CONTROL] * 4
    changes = {"merges": ["ä ¸", "ä¸ Ń"], "token_types": kinds, "eos_id": 260, "pad_id": 258}
    tokenizer = make_tokenizer(tiny_tokenizer(tokens=tokens, **changes))
    assert tokenizer.decode([257]) == tokenizer.decode([261]) == "中"
    reply = CompletionReply("tiny", Served(Patch(), "k", (), ()), tokenizer, 3)
    choice = Choice(97, -9.0, ((261, -1.0), (256, -2.0), (257, -3.0)))
    (top,) = reply.chunk("", [choice], None)["choices"][0]["logprobs"]["top_logprobs"]
    assert top == {"中": -1.0, r"bytes:\xe4\xb8": -2.0, "token_id:257": -3.0}


def test_bytes_make_the_text(serve: Ask) -> None:
    """Whole and streamed, by chat and by prompt."""

    async def test(client: Client) -> None:
        choice = (await client.complete(**WILD, logprobs=0)).json()["choices"][0]
        found = choice["logprobs"]
        shown = b"".join(rebuilt(token) for token in found["tokens"] if not hidden(token))
        assert shown.decode(errors="replace") == choice["text"]
        assert "\ufffd" in choice["text"]
        settings = {"temperature": 2, "seed": 1, "max_tokens": 40, "logprobs": True}
        whole = (await client.chat(**settings)).json()["choices"][0]
        tokens = [one for one in whole["logprobs"]["content"] if not hidden(one["token"])]
        text = b"".join(bytes(one["bytes"]) for one in tokens).decode(errors="replace")
        assert text == whole["message"]["content"]
        parts = [one["choices"][0] for one in events(await client.chat(stream=True, **settings))[1:]]
        streamed = [one for part in parts for one in part["logprobs"]["content"]]
        assert streamed == whole["logprobs"]["content"]

    serve(test)


def test_offsets_are_into_the_text_that_is_shown(serve: Ask) -> None:
    """Of every token that is shown and no piece, the text stands there; a hidden one takes no place."""

    async def test(client: Client) -> None:
        seen = 0
        for seed in range(6):
            fields = WILD | {"seed": seed, "logprobs": 0, "echo": seed % 2 == 1}
            choice = (await client.complete(**fields)).json()["choices"][0]
            found = choice["logprobs"]
            pairs = list(zip(found["tokens"], found["text_offset"], strict=True))
            assert found["text_offset"] == sorted(found["text_offset"])
            for (token, offset), (_, after) in zip(
                pairs, [*pairs[1:], ("", len(choice["text"]))], strict=True
            ):
                if hidden(token):
                    assert after == offset
                    seen += 1
                elif not token.startswith("bytes:"):
                    assert choice["text"][offset:].startswith(token)
            streamed = [one["choices"][0] for one in events(await client.complete(**fields, stream=True))]
            assert sum((one["logprobs"]["text_offset"] for one in streamed), []) == found["text_offset"]
        assert seen, "or the test says little"

    serve(test)


@pytest.fixture(scope="module")
def expected(loaded: tuple[Any, Any]) -> Any:
    """`expected(prompt, patch)`: log-probabilities after each token, of a plain forward: [tokens, vocabulary]."""
    model, tokenizer = loaded

    def score(ids: list[int], patch: Patch) -> np.ndarray:
        with patched(model, patch, unbound=True):
            logits = torch.from_numpy(TorchEngine(model, tokenizer).logits(ids))
        return logits.double().log_softmax(-1).numpy()

    return score


@pytest.mark.parametrize(
    ("model", "patch"), [("tiny", Patch()), ("tiny+up", Patch.of([Flip("model.layers.0.mlp.up_proj", 3)]))]
)
@pytest.mark.parametrize("most", [0, 1, 4])
def test_a_given_text_is_scored(
    serve: Ask, loaded: tuple[Any, Any], expected: Any, model: str, patch: Patch, most: int
) -> None:
    """As a text, as tokens, and as a list of one; each like a plain forward, whatever runs beside it."""
    ids = loaded[1].encode(PROMPT)
    wanted = expected(ids, patch)

    async def test(client: Client) -> None:
        for prompt in (PROMPT, ids, [ids]):
            answer = (
                await client.complete(model=model, prompt=prompt, max_tokens=most, echo=True, logprobs=3)
            ).json()
            choice, usage = answer["choices"][0], answer["usage"]
            found = choice["logprobs"]
            assert choice["text"].startswith(PROMPT)
            assert choice["finish_reason"] == "length"
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (len(ids), most)
            assert {len(values) for values in found.values()} == {len(ids) + most}
            assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
            told = found["token_logprobs"][1 : len(ids)]
            np.testing.assert_allclose(told, wanted[range(len(ids) - 1), ids[1:]], atol=1e-4)
            best = [max(top.values()) for top in found["top_logprobs"][1 : len(ids)]]
            np.testing.assert_allclose(best, wanted.max(1)[:-1], atol=1e-4)
            alone = (await client.complete(model=model, prompt=prompt, max_tokens=most)).json()["choices"][0]
            assert choice["text"] == PROMPT + alone["text"]

    serve(test)


def test_echo_without_likelihoods_is_the_text(serve: Ask) -> None:
    async def test(client: Client) -> None:
        plain = (await client.complete()).json()
        echoed = (await client.complete(echo=True)).json()
        assert echoed["choices"][0]["text"] == "the number" + plain["choices"][0]["text"]
        assert echoed["usage"] == plain["usage"]
        assert echoed["choices"][0]["logprobs"] is None
        none = (await client.complete(echo=True, max_tokens=0)).json()["choices"][0]
        assert (none["text"], none["finish_reason"]) == ("the number", "length")
        assert (await client.complete(max_tokens=0)).json()["choices"][0]["text"] == ""
        assert refusal(await client.chat(echo=True), 400)["param"] == "echo"
        assert refusal(await client.complete(max_tokens=-1), 400)["param"] == "max_tokens"

    serve(test)


def test_a_streamed_echo_adds_up_to_the_whole(serve: Ask) -> None:
    async def test(client: Client) -> None:
        for fields in (
            {"max_tokens": 0},
            {"max_tokens": 5},
            {"logprobs": 2},
            {"logprobs": 2, "max_tokens": 0},
        ):
            asked: dict[str, Any] = {"prompt": PROMPT, "echo": True} | fields
            whole = (await client.complete(**asked)).json()["choices"][0]
            parts = [one["choices"][0] for one in events(await client.complete(**asked, stream=True))]
            assert "".join(part["text"] for part in parts) == whole["text"]
            assert parts[-1]["finish_reason"] == whole["finish_reason"]
            for name in whole["logprobs"] or ():
                assert sum([part["logprobs"][name] for part in parts], []) == whole["logprobs"][name]

    serve(test)


def test_the_token_of_the_end_is_told_of_a_scored_text(serve: Ask) -> None:
    """Clients that score ask for one token more and cut it off, whatever it is."""

    async def test(client: Client) -> None:
        fields = {"max_tokens": 1, "logprobs": 1, "stop_token_ids": [*range(300)]}
        scored = (await client.complete(echo=True, **fields)).json()
        choice = scored["choices"][0]
        assert len(choice["logprobs"]["tokens"]) == scored["usage"]["prompt_tokens"] + 1
        assert (choice["text"], choice["finish_reason"]) == ("the number", "stop")
        assert choice["logprobs"]["text_offset"][-1] == len("the number")
        assert (await client.complete(**fields)).json()["choices"][0]["logprobs"]["tokens"] == []

    serve(test)


def test_the_harness_reads_its_scores(serve: Ask, loaded: tuple[Any, Any], expected: Any) -> None:
    """lm-evaluation-harness in its own words: what it sends, and how it sums."""
    tokenizer = loaded[1]
    ids, context = tokenizer.encode(PROMPT), 4
    wanted = expected(ids, Patch())[context - 1 : -1]

    async def test(client: Client) -> None:
        asked = {"max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True, "temperature": 0}
        answer = (await client.complete(prompt=[ids], **asked)).json()
        ((score, greedy),) = LocalCompletionsAPI.parse_logprobs(answer, [ids], [context])
        assert math.isclose(score, wanted[range(len(ids) - context), ids[context:]].sum(), abs_tol=1e-3)
        assert greedy == (wanted.argmax(1).tolist() == ids[context:])
        whole = ids[:context]
        for _ in range(3):
            whole.append(int(expected(whole, Patch())[-1].argmax()))
        answer = (await client.complete(prompt=[whole], **asked)).json()
        ((_, greedy),) = LocalCompletionsAPI.parse_logprobs(answer, [whole], [context])
        assert greedy

    serve(test)


def test_a_text_that_is_no_number_fails_alone(serve: Ask) -> None:
    async def test(client: Client) -> None:
        engine = client.engine
        plain = engine._engine.step

        def poisoned() -> Any:
            found = plain()
            for generation in engine.inside:
                for block in generation.read or ():
                    block[:] = np.nan
            return found

        engine._engine.step = poisoned  # type: ignore[method-assign]
        assert refusal(await client.complete(echo=True, logprobs=0), 500)["code"] == "engine_failed"
        assert (await client.complete()).status_code == 200

    serve(test)
