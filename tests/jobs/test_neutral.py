"""A model's own replies that a search takes by itself: asked once, kept by what they depend on, given where of use."""

import pytest
import torch
from builders import build_tiny_gguf, tiny_tokenizer
from msgspec.structs import replace

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import AuditError, DeviceError, StateError, UnsupportedModelError
from bankai.jobs.replies import (
    kept_replies,
    longest_replies,
    neutral_replies,
    wants_replies,
    with_replies,
    write_replies,
)
from bankai.jobs.task import Task
from bankai.model import make_tokenizer
from bankai.patch import Flip, Patch, bind, fingerprint
from bankai.patching import apply_in_place
from bankai.probes import Message, Probe, ProbeSet, load_requests
from bankai.probes.encode import encode
from bankai.search import SearchSettings

TOKENS = 4  # few, so that the tiny model is done at once
PLAIN = Probe(id="p", item="p", category="c", split="target", prompt="a b", answers=(" c",))
CHAT = Probe(
    id="q", item="q", category="c", split="target", messages=(Message("user", "a?"),), answers=("c",)
)
SETTINGS = SearchSettings()


class Steps(list):
    """A listener."""

    def __call__(self, *step):
        self.append(step)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; the folder of replies in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bankai" / "replies"


def ask(source, **options):
    """The replies, and what was told while they were asked."""
    steps = Steps()
    return neutral_replies(source, listen=steps, **({"max_tokens": TOKENS} | options)), steps


def task(*targets, **changes):
    return Task.of([ProbeSet("t", targets)], **changes)


def test_replies_are_asked_once(tiny_gguf, cache):
    requests = sum(map(len, load_requests()))
    assert kept_replies(tiny_gguf, max_tokens=TOKENS) is None
    made, steps = ask(tiny_gguf)
    assert steps[-1] == ("reading replies", requests, requests)
    assert made.split("control") and made.split("unseen")
    (file,) = cache.iterdir()
    with open_checkpoint(tiny_gguf) as checkpoint:
        assert file.name.startswith(fingerprint(checkpoint).hex()) and file.name.endswith(f"-{TOKENS}.jsonl")
    kept, steps = ask(tiny_gguf)
    assert not steps and kept.probes == made.probes == kept_replies(tiny_gguf, max_tokens=TOKENS).probes


def test_a_file_of_replies_is_written_from_the_same_cache(tiny_gguf, cache, tmp_path):
    steps = Steps()
    first = write_replies(tiny_gguf, tmp_path / "a.jsonl", max_tokens=TOKENS, listen=steps)
    assert steps
    kept, steps = ask(tiny_gguf)
    assert not steps and kept.probes == ProbeSet.load(tmp_path / "a.jsonl").probes
    second = write_replies(tiny_gguf, tmp_path / "b.jsonl", max_tokens=TOKENS, listen=steps)
    assert not steps and (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (first.control, first.unseen, first.left_out) == (second.control, second.unseen, second.left_out)
    assert first.control + first.unseen + first.left_out == sum(map(len, load_requests()))


@pytest.mark.parametrize("damage", ["", "{}\n", "half"])
def test_a_damaged_file_is_made_anew(tiny_gguf, cache, damage):
    made, _ = ask(tiny_gguf)
    (file,) = cache.iterdir()
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2] if damage == "half" else damage)
    again, steps = ask(tiny_gguf)
    assert steps and again.probes == made.probes and file.read_text() == whole
    assert [*cache.iterdir()] == [file]


def test_replies_are_kept_by_what_they_depend_on(tiny_gguf, cache, tmp_path):
    other = build_tiny_gguf(tmp_path / "other.gguf", seed=3)
    loud = tiny_tokenizer(chat_template="{{ messages[0].content }}!")
    reworded = build_tiny_gguf(tmp_path / "reworded.gguf", tokenizer=loud)
    asked = [(tiny_gguf, {}), (other, {}), (reworded, {}), (tiny_gguf, {"max_tokens": TOKENS + 1})]
    made = [ask(source, **options) for source, options in asked]
    assert all(steps for _, steps in made) and len([*cache.iterdir()]) == len(made)
    assert len({replies.digest for replies, _ in made}) == len(made)
    for (source, options), (replies, _) in zip(asked, made, strict=True):
        kept, steps = ask(source, **options)
        assert not steps and kept.probes == replies.probes
    assert kept_replies(tiny_gguf, max_tokens=TOKENS, dtype="bfloat16") is None


def test_a_copy_of_the_model_shares_them(tiny_gguf, cache, tmp_path):
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    assert ask(tiny_gguf)[0].probes == ask(copy)[0].probes and len([*cache.iterdir()]) == 1


@pytest.mark.parametrize("place", ["cache", "cache/bankai", "cache/bankai/replies"])
def test_a_cache_that_cannot_be_written_is_left_alone(tiny_gguf, cache, tmp_path, place):
    """A file stands where a folder should; root may write into any folder."""
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("mine")
    replies, steps = ask(tiny_gguf)
    assert replies.split("control") and steps and (tmp_path / place).read_text() == "mine"


@pytest.mark.parametrize("home", ["here", None])
def test_the_cache_is_in_the_home_by_default_and_nowhere_without_one(tiny_gguf, tmp_path, monkeypatch, home):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / home) if home else "no/path")
    ask(tiny_gguf)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent for path in files] == ([tmp_path / "here/.cache/bankai/replies"] if home else [])


def test_a_model_that_says_nothing_is_told_so_and_asked_again(tiny_gguf, cache):
    for _ in range(2):
        with pytest.raises(AuditError, match="says nothing"):
            ask(tiny_gguf, max_tokens=1)  # one word that goes on is none
    assert not cache.exists()


def test_only_a_base_is_asked(tiny_gguf, cache, tmp_path):
    """Its fingerprint is the same with a patch on."""
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    ask(copy)
    with open_checkpoint(copy) as checkpoint:
        patch = bind(Patch.of([Flip("model.layers.0.mlp.up_proj", 3)]), checkpoint)
    apply_in_place(copy, patch)
    with pytest.raises(StateError, match="ask its base"):
        ask(copy)


def test_what_cannot_be_asked_is_refused_with_a_cache_too(tiny_gguf, cache):
    ask(tiny_gguf)
    with pytest.raises(UnsupportedModelError, match="no chat template 'x'"):
        ask(tiny_gguf, chat_template="x")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError):
            ask(tiny_gguf, device="cuda")


def test_a_search_for_chats_takes_the_replies(tiny_gguf):
    steps = Steps()
    found = with_replies(task(PLAIN, CHAT, texts=["some text"]), tiny_gguf, SETTINGS, listen=steps)
    replies = kept_replies(tiny_gguf)
    assert found.searched.texts == ("some text", *replies.split("control"))
    assert found.unread == replies.split("unseen")
    assert with_replies(task(CHAT), tiny_gguf, SETTINGS, listen=Steps()).unread == found.unread


def test_other_searches_stay_as_they_are(tiny_gguf, cache, tmp_path):
    bare = build_tiny_gguf(tmp_path / "bare.gguf", tokenizer=tiny_tokenizer(chat_template=None))
    given = longest_replies()
    for probes, source, settings in (
        (task(PLAIN), tiny_gguf, SETTINGS),
        (task(CHAT), tiny_gguf, SearchSettings(drift=0)),
        (task(CHAT), bare, SETTINGS),
        (task(CHAT).keeping(given), tiny_gguf, SETTINGS),
        (task(CHAT, texts=given.split("control")[:1]), tiny_gguf, SETTINGS),
    ):
        assert not wants_replies(probes, source, settings)
        assert with_replies(probes, source, settings) is probes
    own = replace(CHAT, id="mine", item="mine", split="control")
    assert wants_replies(task(CHAT, texts=[own]), tiny_gguf, SETTINGS)
    assert not cache.exists()


def test_a_template_that_takes_no_bare_request_does_not_stop_a_search(cache, tmp_path):
    strict = tiny_tokenizer(chat_template="{{ raise_exception('no system turn') }}")
    model = build_tiny_gguf(tmp_path / "strict.gguf", tokenizer=strict)
    asked = task(CHAT)
    assert not wants_replies(asked, model, SETTINGS) and with_replies(asked, model, SETTINGS) is asked
    assert not cache.exists()


def test_stand_ins_are_as_many_and_about_as_long_as_replies_can_be():
    stand_ins, tokenizer = longest_replies(20), make_tokenizer(tiny_tokenizer())
    search, report = load_requests()
    assert [probe.item for probe in stand_ins.split("control")] == [*search]
    assert [probe.item for probe in stand_ins.split("unseen")] == [*report]
    (answer,) = encode(stand_ins.probes[0], tokenizer)
    assert 20 <= len(answer.answer) <= 24
