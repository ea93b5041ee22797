"""Each kind of bad probe is named; sound probes are left alone."""

import builders
import pytest
import torch

from bankai.errors import AuditError
from bankai.evaluation.audit import FAR_RANK, audit, require_sound
from bankai.model import load, make_tokenizer
from bankai.probes import Message, Probe
from bankai.probes.encode import context_ids


@pytest.fixture(scope="module")
def loaded(tiny_gguf):
    return load(tiny_gguf)


def probe(name="a", prompt="the question is", answers=(" 6",), split="target", **changes):
    return Probe(id=name, item=name, category="c", split=split, prompt=prompt, answers=answers, **changes)


def kinds(loaded, *probes):
    return [(f.probe_id, f.kind, f.severity) for f in audit(*loaded, probes)]


def test_sound_probes_have_no_findings(loaded):
    sound = [
        probe(answers=(" 6", " six", " 63")),
        probe("b", "what number equals"),
        probe("c", None, messages=(Message("user", "what"),), answers=("ok",)),
        probe("d", "number", split="control"),
    ]
    assert kinds(loaded, *sound) == []
    assert require_sound(*loaded, sound) == []


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (probe(prompt="what i", answers=("ng",)), "border"),
        (probe(answers=(" 6<|im_end|>",)), "unreachable"),
        (probe(answers=(" 6\n7",)), "stop-inside"),
        (probe(distractor=" 6"), "same-tokens"),
        (probe(answers=(" six", " 6"), distractor=" 6"), "same-tokens"),
        (probe(prompt="what" + " what" * 299), "too-long"),
    ],
)
def test_each_fault_is_named(loaded, bad, kind):
    assert kinds(loaded, bad) == [("a", kind, "error")]
    with pytest.raises(AuditError, match=r"1 faults?: a: .*; "):
        require_sound(*loaded, [bad])


def test_text_that_ends_in_a_space_is_a_warning(loaded):
    warning = ("a", "trailing-space", "warning")
    assert warning in kinds(loaded, probe(prompt="the question is ", answers=("6",)))
    assert warning in kinds(loaded, probe(prompt="number", prefix=" is\t", answers=("6",)))
    assert warning not in kinds(loaded, probe(prompt="the question is\n", answers=("6",)))
    found = kinds(loaded, probe(prompt="the question is ", answers=("to",)))
    assert found == [("a", "border", "error"), warning]


def test_characters_without_a_token_are_unreachable(loaded):
    tokens = [*builders.tiny_tokenizer().tokens]
    tokens[ord("z")] = "<|spare|>"
    tokenizer = make_tokenizer(builders.tiny_tokenizer(tokens=tokens))
    assert [f.kind for f in audit(None, tokenizer, [probe(answers=(" z1",))])] == ["unreachable"]


def test_alternates_of_which_one_begins_another_are_sound(loaded):
    assert kinds(loaded, probe(answers=(" 6", " 60"))) == []


def test_repeated_answer_is_a_warning(loaded):
    assert kinds(loaded, probe(answers=(" 6", " 6"))) == [("a", "repeated-answer", "warning")]
    assert len(require_sound(*loaded, [probe(answers=(" 6", " 6"))])) == 1


def test_duplicate_contrast_is_named_once_per_copy(loaded):
    copies = [probe("a"), probe("b"), probe("c")]
    assert kinds(loaded, *copies) == [("b", "duplicate", "error"), ("c", "duplicate", "error")]
    # The same prompt with other answers is another question, for instance of style.
    assert kinds(loaded, probe("a"), probe("b", answers=(" six",))) == []


def test_prompt_in_two_splits_is_a_leak(loaded):
    found = audit(*loaded, [probe("a"), probe("b", split="heldout", answers=(" six",))])
    assert [(f.probe_id, f.kind) for f in found] == [("b", "leak")]
    assert "a in target" in found[0].message


def test_prefix_belongs_to_the_prompt(loaded):
    pair = [probe("a", "the question", prefix=" is"), probe("b", "the question is", split="heldout")]
    assert kinds(loaded, *pair) == [("b", "leak", "error")]


def test_distractor_is_ranked_where_it_parts_from_the_answer(loaded):
    model, tokenizer = loaded
    with torch.no_grad():
        order = (
            model(**tokenizer("the question is", return_tensors="pt")).logits[0, -1].argsort(descending=True)
        )
    # Printable ASCII, whose ids in this tokenizer are their codes; those that do not merge with what follows.
    ranked = [(rank, chr(i)) for rank, i in enumerate(order.tolist(), 1) if 33 <= i < 127]
    ranked = [
        (rank, text) for rank, text in ranked if tokenizer(f"is{text}\n")["input_ids"][-2:] == [ord(text), 10]
    ]
    for rank, text in ranked:
        answer = next(other for _, other in ranked if other != text)
        found = kinds(loaded, probe(answers=(answer,), distractor=text))
        assert found == ([("a", "far-distractor", "warning")] if rank > FAR_RANK else [])
    ranks = [rank for rank, _ in ranked]
    # Close to the limit on both sides, or the test would not know the limit.
    assert any(FAR_RANK - 5 <= rank <= FAR_RANK for rank in ranks), ranks
    assert any(FAR_RANK < rank <= FAR_RANK + 5 for rank in ranks), ranks


TURN = {"prompt": None, "messages": (Message("user", "what"),)}


@pytest.mark.parametrize("text", ["6<|im_end|>", "<|endoftext|>6"])
def test_answers_that_hold_a_special_token_before_the_end_of_the_turn(loaded, text):
    assert kinds(loaded, probe(answers=(text,), **TURN)) == [("a", "unreachable", "error")]


def test_a_distractor_that_ends_the_turn_ranks_as_the_best_end(loaded):
    model, tokenizer = loaded
    context = context_ids(probe(**TURN), tokenizer)
    with torch.no_grad():
        logits = model(torch.tensor([[*context, ord("6")]])).logits[0, -1]
    rank = int((logits > logits[[297, 299]].max()).sum()) + 1
    assert kinds(loaded, probe(answers=("6 ok",), distractor="6", **TURN)) == (
        [("a", "far-distractor", "warning")] if rank > FAR_RANK else []
    )
    biased = logits.argmax()
    ends = make_tokenizer(builders.tiny_tokenizer(eot_id=int(biased)))  # now the model says the distractor
    assert kinds((model, ends), probe(answers=("6 ok",), distractor="6", **TURN)) == []


def test_near_distractor_is_sound(loaded):
    model, tokenizer = loaded
    with torch.no_grad():
        best = int(model(**tokenizer("what", return_tensors="pt")).logits[0, -1].argmax())
    text = tokenizer.decode([best])
    assert tokenizer("what" + text)["input_ids"][-1] == best, (
        "choose another prompt: this token does not stand alone"
    )
    assert kinds(loaded, probe(prompt="what", distractor=text)) == []
    assert audit(None, tokenizer, [probe(prompt="what", distractor=" nowhere near")]) == []


def test_many_faults_are_counted(loaded):
    with pytest.raises(AuditError, match="found 7 faults.*and 2 more"):
        require_sound(*loaded, [probe(str(i), f"what {i} is ", answers=("to",)) for i in range(7)])


def test_distractor_parts_from_the_alternate_it_follows_longest(loaded):
    model, tokenizer = loaded
    ids = tokenizer("the question is")["input_ids"]

    def ranked(text):
        """Printable ASCII after the prompt and `text`, likeliest first."""
        with torch.no_grad():
            order = (
                model(torch.tensor([[*ids, *text.encode()]])).logits[0, -1].argsort(descending=True).tolist()
            )
        return [chr(i) for i in order if 33 <= i < 127], order

    likely, order = ranked("")
    first, other = likely[0], likely[1]
    assert order.index(ord(first)) < FAR_RANK
    after, order = ranked(first)
    assert order.index(ord(after[-1])) >= FAR_RANK
    distractor, longest = first + after[-1], first + after[0]
    assert kinds(loaded, probe(answers=(other,), distractor=distractor)) == []
    found = kinds(loaded, probe(answers=(longest, other), distractor=distractor))
    assert found == [("a", "far-distractor", "warning")]
