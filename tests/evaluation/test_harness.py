"""lm-evaluation-harness over our models, on task files and data of our own: nothing here reaches a network."""

import json
import math
from importlib import resources

import builders
import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import HarnessError, UnsupportedModelError
from bankai.evaluation import score_probes
from bankai.evaluation.harness import BankaiLM, bits_digest, run_harness
from bankai.evaluation.scoring import perplexity
from bankai.model import load, make_tokenizer, patched
from bankai.model.generation import prompt_ids, stream
from bankai.model.tokenizer import choose_chat_template
from bankai.patch import Flip, Patch, bind, write_patch
from bankai.probes import Message, Probe

QUESTIONS = [
    {"question": "the answer to the question is", "choices": ["6", "ok", "the number"], "answer": 1},
    {"question": "what number equals 00", "choices": ["7", "is", "what"], "answer": 0},
    {"question": "the", "choices": ["a", "of the question", "ing"], "answer": 2},
]
CHOICE = {
    "task": "tiny_choice",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}:",
    "doc_to_target": "answer",
    "doc_to_choice": "choices",
}
SAY = {
    "task": "tiny_say",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}:",
    "doc_to_target": "{{choices[answer]}}",
    "generation_kwargs": {"until": ["\n\n", "zz"], "max_gen_toks": 12, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
FLIPS = [Flip("model.layers.0.mlp.up_proj", row) for row in range(60)]


def requests(kind, pairs):
    return [Instance(kind, {}, pair, index) for index, pair in enumerate(pairs)]


@pytest.fixture(scope="module")
def tiny(tiny_gguf):
    return load(tiny_gguf, dense=True)


@pytest.fixture(scope="module")
def lm(tiny):
    return BankaiLM(*tiny, "tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Task files beside their data."""
    path = tmp_path_factory.mktemp("tasks")
    data = path / "questions.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in QUESTIONS))
    source = {"dataset_path": "json", "test_split": "test",
              "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(path / "cache")}}  # fmt: skip
    for task in (CHOICE, SAY):
        (path / f"{task['task']}.yaml").write_text(yaml.safe_dump(task | source))
    return path


@pytest.fixture(scope="module")
def patch_file(tiny_gguf, tmp_path_factory):
    path = tmp_path_factory.mktemp("patch") / "some.bankai"
    with open_checkpoint(tiny_gguf) as checkpoint:
        write_patch(bind(Patch.of(FLIPS), checkpoint), path)
    return path


def test_log_likelihoods_are_our_scores(tiny, lm):
    pairs = [(f"{one['question']}:", f" {choice}\n") for one in QUESTIONS for choice in one["choices"]]
    chat = [{"role": "user", "content": "what is the answer"}]
    context = lm.apply_chat_template(chat)
    probes = [
        Probe(id=str(n), item=str(n), category="c", split="target", prompt=left, answers=(right[:-1],))
        for n, (left, right) in enumerate(pairs)
    ]
    probes.append(Probe(id="chat", item="chat", category="c", split="target", answers=("6",),
                        messages=(Message("user", chat[0]["content"]),), stop="<|im_end|>"))  # fmt: skip
    found = lm.loglikelihood(requests("loglikelihood", [*pairs, (context, "6<|im_end|>")]))
    for (log_prob, greedy), score in zip(found, score_probes(*tiny, probes), strict=True):
        assert log_prob == pytest.approx(score.score, abs=1e-4)
        assert greedy is score.solved


def test_a_model_that_names_no_end_has_those_that_it_knows_by_their_text(tiny):
    lm = BankaiLM(tiny[0], make_tokenizer(builders.tiny_tokenizer(eos_id=None)), "tiny")
    assert (lm.eot_token_id, lm.prefix_token_id) == (297, 297)
    assert len(lm.loglikelihood_rolling(requests("loglikelihood_rolling", [("the answer",)]))) == 1
    tokens = [*builders.tiny_tokenizer().tokens[:-3], "<a>", "<b>", "<c>"]
    endless = builders.tiny_tokenizer(tokens=tokens, eos_id=None, pad_id=None)
    with pytest.raises(HarnessError, match="no token that ends a text; take tasks"):
        _ = BankaiLM(tiny[0], make_tokenizer(endless), "tiny").prefix_token_id


def test_variables_of_the_template_reach_chats_and_name_caches(tiny):
    template = "{{ messages[0].content }}{% if enable_thinking == false %} no{% endif %}"
    lm = BankaiLM(tiny[0], make_tokenizer(builders.tiny_tokenizer(chat_template=template)), "tiny")
    chat, plain = [{"role": "user", "content": "ok"}], lm.tokenizer_name
    assert lm.apply_chat_template(chat) == "ok"
    choose_chat_template(lm.tokenizer, None, {"enable_thinking": False})
    assert lm.apply_chat_template(chat) == "ok no"
    assert lm.tokenizer_name != plain
    choose_chat_template(lm.tokenizer, None, {})
    assert lm.tokenizer_name == plain


def test_pairs_are_split_as_lm_eval_does(lm):
    for pair in [("the answer is", " 6"), ("a:", "what number"), ("<|im_start|>user", "\n6<|im_end|>")]:
        assert lm._encode_pair(*pair) == TemplateLM._encode_pair(lm, *pair)
    # A blank that makes a token with the continuation belongs to it; one that stays alone does not.
    assert lm._encode_pair("x ", "the") == TemplateLM._encode_pair(lm, "x ", "the")
    assert lm._encode_pair("x\n", "6") == (lm.tok_encode("x\n"), lm.tok_encode("6"))


def test_what_greedy_decoding_says_is_greedy(tiny, lm):
    model, tokenizer = tiny
    said = "".join(stream(model, tokenizer, prompt_ids(model, tokenizer, "the answer"), max_tokens=1))
    ((_, greedy), (_, other)) = lm.loglikelihood(
        requests("loglikelihood", [("the answer", said), ("the answer", "\x07")])
    )
    assert greedy and not other


def test_text_is_that_of_generate(tiny, lm):
    model, tokenizer = tiny
    prompts = ["the answer is", "what", "the question of the number equals the answer to"]
    found = lm.generate_until(
        requests("generate_until", [(p, {"until": [], "max_gen_toks": 9}) for p in prompts])
    )
    for prompt, text in zip(prompts, found, strict=True):
        ids = prompt_ids(model, tokenizer, prompt)
        whole = "".join(stream(model, tokenizer, ids, max_tokens=9))
        assert text.rstrip("\ufffd") == whole
        stop, later = whole[2:4], whole[4:6]
        for until in ([stop, later], [later, stop], stop):
            (cut,) = lm.generate_until(
                requests("generate_until", [(prompt, {"until": until, "max_gen_toks": 9})])
            )
            assert cut == whole[: whole.index(stop)]


def test_rolling_reads_every_token_once(tiny, lm):
    model, tokenizer = tiny
    begin = tokenizer.decode([lm.prefix_token_id])
    text = "the answer to the question is the number " * 12
    count = len(tokenizer(text)["input_ids"])
    short, long = lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(text[:80],), (text * 4,)]))
    tokens = len(tokenizer(text[:80])["input_ids"])
    mean = math.log(perplexity(model, tokenizer, begin + text[:80]))
    assert short == pytest.approx(-mean * tokens, rel=1e-5)
    # Longer than the context of 256: about as improbable per token as its parts.
    assert count * 4 > lm.max_length
    (one,) = lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,)]))
    assert long / (count * 4) == pytest.approx(one / count, rel=0.1)


def test_agrees_with_lm_evals_own_model_class(tiny, lm):
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=tiny[0], tokenizer=tiny[1], batch_size=2, device="cpu")
    pairs = [("the answer is", " 6"), ("a:", "what number"), ("", "the"), ("x" * 400, " ok")]
    texts = [("the answer to the question",), ("the answer to the question is the number " * 40,)]
    asked = [
        (text, {"until": ["zz"], "max_gen_toks": 9}) for text in ("the answer is", "what", "the number of")
    ]
    for mine, other in zip(
        *(one.loglikelihood(requests("loglikelihood", pairs)) for one in (lm, theirs)), strict=True
    ):
        assert mine == (pytest.approx(other[0], abs=1e-4), other[1])
    rolling = [one.loglikelihood_rolling(requests("loglikelihood_rolling", texts)) for one in (lm, theirs)]
    assert rolling[0] == pytest.approx(rolling[1], rel=1e-6)
    said = [one.generate_until(requests("generate_until", asked)) for one in (lm, theirs)]
    assert said[0] == said[1]


def test_long_contexts_lose_their_beginning(lm):
    tail = "the answer is"
    texts = [("x" * 400 + tail, " 6"), ("y" * 400 + tail, " 6")]
    same, changed = ("x" * n + tail for n in (600, 400))
    (one, _), (other, _) = lm.loglikelihood(requests("loglikelihood", [(same, " 6"), (changed, " 6")]))
    assert one == pytest.approx(other, abs=1e-5)
    (x, _), (y, _) = lm.loglikelihood(requests("loglikelihood", texts))
    assert x != y
    assert lm.loglikelihood(requests("loglikelihood", [(tail, "")])) == [(0.0, True)]
    with pytest.raises(HarnessError, match="leave the task out"):
        lm.loglikelihood(requests("loglikelihood", [("a", "z" * 300)]))


def test_tasks_that_cannot_run_are_refused(lm, tiny_gguf, folder, tmp_path):
    with pytest.raises(HarnessError, match="samples"):
        lm.generate_until(requests("generate_until", [("a", {"do_sample": True, "temperature": 0.7})]))
    with pytest.raises(HarnessError, match="context has 256"):
        lm.generate_until(requests("generate_until", [("a", {"max_gen_toks": 256})]))
    with pytest.raises(HarnessError, match="no folder"):
        run_harness(tiny_gguf, ["tiny_say"], include_path=folder / "none")
    lost = SAY | {"task": "lost", "dataset_path": "json", "dataset_kwargs": {"data_files": "none.jsonl"}}
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump(lost))
    with pytest.raises(HarnessError, match="lost cannot be loaded .*none.jsonl.*HF_HUB_OFFLINE=1"):
        run_harness(tiny_gguf, ["lost"], include_path=tmp_path)


def test_tasks_run_with_and_without_a_patch(tiny_gguf, tiny, lm, folder, patch_file, tmp_path):
    model, tokenizer = tiny
    steps = []
    options = {"include_path": folder, "cache": tmp_path, "listen": lambda *step: steps.append(step)}
    base = run_harness(tiny_gguf, ["tiny_choice", "tiny_say"], **options)
    # Right exactly where the right choice is the most probable, by our own log-likelihoods.
    right = 0
    for one in QUESTIONS:
        pairs = [(f"{one['question']}:", f" {choice}") for choice in one["choices"]]
        scores = [log_prob for log_prob, _ in lm.loglikelihood(requests("loglikelihood", pairs))]
        right += scores.index(max(scores)) == one["answer"]
    assert base.results["tiny_choice"]["acc,none"] == pytest.approx(right / 3)
    assert base.samples == {"tiny_choice": 3, "tiny_say": 3}
    assert (base.patch, base.patch_digest, base.chat, base.bits) == (None, None, False, bits_digest(model))
    assert ("log-likelihoods", 9, 9) in steps and ("replies", 3, 3) in steps
    assert len(list(tmp_path.glob(f"{base.bits}-base-float32.db"))) == 1

    steps.clear()
    again = run_harness(tiny_gguf, ["tiny_choice", "tiny_say"], **options)
    assert again.results == base.results and steps == []  # all of it from the cache

    changed = run_harness(tiny_gguf, ["tiny_choice"], patch_file, limit=2, **options)
    assert steps and changed.samples == {"tiny_choice": 2} and changed.limit == 2
    with patched(model, Patch.of(FLIPS), unbound=True):
        assert changed.bits == bits_digest(model) != base.bits
    assert list(tmp_path.glob(f"{changed.bits}-{changed.patch_digest}-float32.db"))


def test_chat_is_what_the_task_asks_for(tiny_gguf, folder, tmp_path):
    config = yaml.safe_load((folder / "tiny_say.yaml").read_text())
    config |= {"task": "tiny_chat", "metadata": {"chat_template": True}}
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "say.yaml").write_text((folder / "tiny_say.yaml").read_text())
    assert run_harness(tiny_gguf, ["tiny_chat"], include_path=tmp_path, limit=1).chat
    assert not run_harness(tiny_gguf, ["tiny_chat"], include_path=tmp_path, limit=1, chat=False).chat
    with pytest.raises(HarnessError, match="only tiny_chat wants the chat template"):
        run_harness(tiny_gguf, ["tiny_chat", "tiny_say"], include_path=tmp_path, limit=1)


def test_chats_in_a_template_by_name(folder, tmp_path):
    spec = builders.tiny_tokenizer(other_templates={"failing": "{{ raise_exception('chosen') }}"})
    model = builders.build_tiny_gguf(tmp_path / "named.gguf", tokenizer=spec)
    options = {"include_path": folder, "limit": 1, "chat": True}
    plain = run_harness(model, ["tiny_choice"], **options)
    assert run_harness(model, ["tiny_choice"], chat_template="default", **options).results == plain.results
    with pytest.raises(UnsupportedModelError, match="chosen"):
        run_harness(model, ["tiny_choice"], chat_template="failing", **options)
    with pytest.raises(UnsupportedModelError, match="'default', 'failing'"):
        run_harness(model, ["tiny_choice"], chat_template="absent", **options)


def test_tasks_that_run_code_are_refused(tiny_gguf, folder, tmp_path):
    config = yaml.safe_load((folder / "tiny_say.yaml").read_text()) | {"task": "wild", "unsafe_code": True}
    (tmp_path / "wild.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(HarnessError, match="wild runs what the model writes"):
        run_harness(tiny_gguf, ["wild"], include_path=tmp_path)


GSM = {"question": "What is 6 times 3?", "answer": "6 * 3 = <<6*3=18>>18\n#### 1,018"}
MMLU = {
    "question": "Which is blue?",
    "choices": ["grass", "sky", "milk", "coal"],
    "answer": 1,
    "subject": "x",
}


@pytest.mark.parametrize(
    ("name", "doc", "replies", "target"),
    [
        ("bankai_gsm8k", GSM, ["So 2. The answer is 1018.", "the answer is: $1,018.00.", "The answer is **1018**."],
         "1,018"),
        ("bankai_mmlu", MMLU,
         ["A no. The answer is B.", "The answer is A? No, the answer is **B**", "The answer is (B)"],
         "B"),
    ],
)  # fmt: skip
def test_packaged_tasks_read_replies(name, doc, replies, target, tmp_path):
    (tmp_path / "one.jsonl").write_text(json.dumps(doc) + "\n")
    config = _packaged(name, tmp_path)
    (task,) = TaskManager(include_defaults=False).load([config])["tasks"].values()
    assert task.get_config("generation_kwargs")["max_gen_toks"] >= 1024
    assert task.get_config("metadata")["chat_template"] is True
    (found,) = task.test_docs()
    assert doc["question"] in task.doc_to_text(found) and task.doc_to_target(found) == target
    for reply, right in [*((reply, 1.0) for reply in replies), ("The answer is 7, or C.", 0.0)]:
        assert _graded(task, found, reply)["exact_match"] == right, reply


def _packaged(name, folder):
    """A task of the package, on data of ours."""
    config = yaml.safe_load((resources.files("bankai.evaluation") / "tasks" / f"{name}.yaml").read_text())
    config.pop("dataset_name")
    kwargs = {"data_files": {"test": str(folder / "one.jsonl")}, "cache_dir": str(folder / "cache")}
    return config | {"dataset_path": "json", "dataset_kwargs": kwargs}


def _graded(task, doc, reply):
    instance = Instance("generate_until", doc, ("", {}), 0, metadata=(name_of(task), 0, 1))
    instance.resps = [reply]
    task._instances = [instance]
    task.apply_filters()
    return task.process_results(doc, [instance.filtered_resps["strict-match"]])


def name_of(task):
    return task.get_config("task")


def test_packaged_choice_runs(tiny_gguf, tmp_path):
    (tmp_path / "one.jsonl").write_text(json.dumps(MMLU) + "\n")
    (tmp_path / "task.yaml").write_text(
        yaml.safe_dump(_packaged("bankai_mmlu_choice", tmp_path) | {"task": "mine"})
    )
    report = run_harness(tiny_gguf, ["mine"], include_path=tmp_path)
    assert report.chat and report.samples == {"mine": 1} and report.results["mine"]["acc,none"] in (0.0, 1.0)
