"""Free replies of a real model, judged."""

import pytest

from bankai.evaluation import TorchEngine
from bankai.evaluation.replies import judge_replies
from bankai.model import load
from bankai.probes.probe import Message, Probe
from bankai.probes.questions import KnowledgeQuestion


@pytest.fixture(scope="module")
def engine():
    return TorchEngine(*load("nano"))


def question(asked, *accepted):
    return KnowledgeQuestion(id=asked, category="any", question=asked, accepted=accepted)


def test_replies_are_greedy_chat_replies_and_judged_one_by_one(engine):
    texts = ["What is the capital of France?", "What is 3 plus 4?", "What is the plural of mouse?"]
    first = {reply.question.id: reply for reply in judge_replies(engine, [question(t, "x") for t in texts])}
    assert len(first) == 3 and all(reply.text for reply in first.values())
    assert not any(reply.right for reply in first.values())
    words = {asked: reply.text.split()[-1].strip(".") for asked, reply in first.items()}
    again = judge_replies(engine, [question(asked, word) for asked, word in words.items()])
    assert all(reply.right and reply.text == first[reply.question.id].text for reply in again)


def test_what_a_reply_says_is_what_the_margin_says(engine):
    """The reply to the end is the answer that greedy decoding solves."""
    asked = "What is the capital of France?"
    (reply,) = judge_replies(engine, [question(asked, "Paris")])
    probe = Probe(
        id="p",
        item="p",
        category="any",
        split="heldout",
        messages=(Message("user", asked),),
        answers=(reply.text,),
    )
    assert reply.whole and engine.score([probe])[0].solved


def test_a_reply_that_is_cut_off_is_not_whole(engine):
    asked = question("What is the capital of France?", "Paris")
    (reply,) = judge_replies(engine, [asked], max_tokens=1)
    assert not reply.whole
