"""The sets for small chat models: as many as promised, none held out is searched, right where it can be checked."""

import re
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from bankai.probes import load_probe_set
from bankai.probes.questions import load_questions
from bankai.probes.requests import load_requests
from bankai.probes.words import has_word

SEARCHED = ("smol-short", "smol-reworded")
REPORTED = ("smol-rephrased", "smol-new-kinds")
GOALS = ("target", "validation", "heldout")
SHARES = {"target": 0.40, "validation": 0.15, "heldout": 0.45}
KINDS = (
    "capital opposite plural past comparative sum next comparison unit yes-no continent digits letter".split()
)
UNITS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
)
UNITS += "seventeen eighteen nineteen".split()
TENS = "ten twenty thirty forty fifty sixty seventy eighty ninety".split()
VALUES = {word: n for n, word in enumerate(UNITS, start=1)} | {w: 10 * n for n, w in enumerate(TENS, start=1)}


def asked(probe):
    (message,) = probe.messages
    assert message.role == "user"
    return message.content


def of_kind(kind, name="smol-short"):
    return [probe for probe in load_probe_set(name) if probe.category == kind]


def key(probe):
    return probe.item.partition("/")[2]


def test_every_kind_has_a_hundred_items():
    sizes = Counter(probe.category for probe in load_probe_set("smol-short"))
    assert list(sizes) == KINDS
    assert min(sizes.values()) >= 100
    assert len({probe.item for probe in load_probe_set("smol-short")}) == sizes.total()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_split_alike(kind):
    shares = Counter(probe.split for probe in of_kind(kind))
    for split, share in SHARES.items():
        assert abs(shares[split] / shares.total() - share) < 0.02


@pytest.mark.parametrize("kind", ["yes-no", "continent"])
def test_splits_have_their_share_of_every_answer(kind):
    probes = of_kind(kind)
    for answer, count in Counter(probe.answers[0] for probe in probes).items():
        for split, share in SHARES.items():
            found = sum(p.split == split and p.answers[0] == answer for p in probes)
            assert abs(found - share * count) < 2, (answer, split)


def test_a_constant_answer_is_right_for_half():
    for kind, name in (("yes-no", "smol-short"), ("sentiment", REPORTED[1]), ("living", REPORTED[1])):
        counts = Counter(probe.answers[0] for probe in of_kind(kind, name))
        assert len(counts) == 2 and len(set(counts.values())) == 1


def test_comparisons_name_the_right_one_first_in_half():
    first = [key(p).split("/")[1].split()[-1] in p.answers for p in of_kind("comparison")]
    assert abs(sum(first) - len(first) / 2) <= 1


def test_all_phrasings_ask_the_same_items_in_the_same_splits():
    short, reworded, rephrased = (
        {(p.item, p.split, p.answers) for p in load_probe_set(name)} for name in (*SEARCHED, REPORTED[0])
    )
    assert short == reworded
    assert rephrased == {entry for entry in short if entry[1] == "heldout"}


def test_what_reports_ask_is_never_searched():
    """By item over all sets together, and by the question itself."""
    splits, questions = defaultdict(set), defaultdict(set)
    for name in (*SEARCHED, *REPORTED):
        for probe in load_probe_set(name):
            splits[probe.item].add(probe.split)
            questions[asked(probe)].add(name)
    assert {len(used) for used in splits.values()} == {1}
    assert {len(used) for used in questions.values()} == {1}
    for name in REPORTED:
        assert load_probe_set(name).splits == ("heldout",)


def test_new_kinds_are_new():
    new = Counter(probe.category for probe in load_probe_set("smol-new-kinds"))
    assert new.keys().isdisjoint(KINDS) and len(new) == 3 and min(new.values()) >= 80


def test_phrasings_share_no_way_to_ask_for_the_form():
    endings = [
        {re.split(r"[.?!] ", asked(probe))[-1] for probe in load_probe_set(name)}
        for name in (*SEARCHED, REPORTED[0])
    ]
    for one, other in combinations(endings, 2):
        assert one.isdisjoint(other)


@pytest.mark.parametrize("name", [*SEARCHED, *REPORTED])
def test_answers_are_bare_and_end_with_the_turn(name):
    for probe in load_probe_set(name):
        assert probe.stop is None and probe.prompt is None and not probe.prefix
        assert asked(probe)[0].isupper() or asked(probe)[0].isdigit()
        bare = [answer for answer in probe.answers if not answer.endswith(".")]
        assert [*probe.answers] == bare + [f"{answer}." for answer in bare]
        assert len(set(bare)) == len(bare)
        words = 2 if probe.category == "continent" else 1  # South America
        assert all(len(answer.split()) <= words for answer in bare)


@pytest.mark.parametrize("kind", ["opposite", "plural", "past", "comparative"])
def test_no_item_is_another_asked_the_other_way_round(kind):
    probes = of_kind(kind)
    keys = {key(probe) for probe in probes}
    answers = {answer.lower() for probe in probes for answer in probe.answers}
    same = {key(p) for p in probes if key(p) in p.answers}  # sheep, cut
    assert keys & answers == same
    assert kind in ("plural", "past") or not same


def test_sums_are_right_and_asked_once():
    terms = Counter()
    for probe in of_kind("sum"):
        a, b = map(int, re.findall(r"\d+", asked(probe)))
        assert probe.answers == (f"{a + b}", f"{a + b}.")
        terms[frozenset((a, b))] += 1
    assert set(terms.values()) == {1}


def test_successors_are_next():
    days = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    months = "January February March April May June July August September October November December".split()
    for probe in of_kind("next"):
        thing = re.search(r"Which (\w+)", asked(probe))[1]
        before, after = key(probe), probe.answers[0]
        match thing:
            case "number":
                assert int(after) - int(before) == 1
            case "letter":
                assert ord(after) - ord(before) == 1 and len(after) == 1
            case _:
                names = {"day": days, "month": months}[thing]
                assert names.index(after) - names.index(before) == 1


def test_digits_are_the_number_in_words():
    for probe in of_kind("digits"):
        hundreds, _, rest = key(probe).rpartition(" hundred")
        value = 100 * VALUES.get(hundreds, 0) + sum(
            VALUES[word] for word in re.findall(r"[a-z]+", rest) if word != "and"
        )
        assert probe.answers == (f"{value}", f"{value}.")


def test_letters_are_first():
    for probe in of_kind("letter"):
        assert probe.answers[0].lower() == key(probe)[0]


def test_comparisons_ask_for_one_of_two():
    for probe in of_kind("comparison"):
        _, *two = key(probe).split("/")
        assert sum(probe.answers[0].lower() == thing.split()[-1].lower() for thing in two) == 1
        assert all(thing in asked(probe) for thing in two)


def test_conversions_scale_with_what_is_converted():
    """2 minutes hold twice the seconds of a minute, wherever both are asked."""
    singular = {"centuries": "century", "feet": "foot", "dozen": "dozen"}
    values = {key(probe): int(probe.answers[0]) for probe in of_kind("unit")}
    several = {name: re.fullmatch(r"(\w+) in (\d+) (\w+)", name) for name in values}
    found = {name: match for name, match in several.items() if match}
    assert len(found) >= 50
    for name, match in found.items():
        unit, count, whole = match.groups()
        one = singular.get(whole, whole.removesuffix("s"))
        article = "an" if one == "hour" else "a"
        assert values[name] == int(count) * values[f"{unit} in {article} {one}"], name


def test_large_numbers_count_with_a_comma_too():
    assert "1,000" in next(p.answers for p in of_kind("unit") if key(p) == "meters in a kilometer")


def test_knowledge_is_large_and_of_many_topics():
    questions = load_questions("smol-knowledge")
    topics = Counter(question.category for question in questions)
    assert len(questions) >= 600 and len(topics) >= 20 and min(topics.values()) >= 15
    assert len({question.question for question in questions}) == len(questions)
    assert len({question.id for question in questions}) == len(questions)


def test_no_knowledge_question_contains_its_answer():
    for question in load_questions("smol-knowledge"):
        assert not has_word(question.question, question.accepted), question
        assert question.accepted and all(word == word.strip() != "" for word in question.accepted)
        assert question.question[0].isupper() and question.question[-1] in "?."


def test_format_questions_ask_for_keys_and_capitals():
    questions = load_questions("smol-format")
    assert Counter(question.category for question in questions) == {"json": 40, "capitals": 40}
    assert len({question.question for question in questions}) == len({q.id for q in questions}) == 80
    for question in questions:
        if question.category == "json":
            assert re.findall(r'"(\w+)"', question.question) == [*question.keys]
            assert len(set(question.keys)) == len(question.keys) >= 2
        else:
            assert question.question.endswith("Answer in capital letters.")
            assert all(word.isupper() for word in question.accepted)
            assert not has_word(question.question, question.accepted)


def test_requests_are_many_different_and_ask_for_no_single_word():
    search, report = load_requests()
    together = [*search, *report]
    assert len(together) >= 320 and abs(len(search) - len(report)) <= 1
    assert len({request.casefold() for request in together}) == len(together)
    form = re.compile(r"\b(one|single|only) (word|number|letter)|\b(word|number|name) only", re.IGNORECASE)
    assert not [request for request in together if form.search(request)]
    assert all(request == request.strip() and request[-1] in '.?!"' for request in together)


def test_requests_take_turns_so_that_both_halves_hold_every_kind():
    search, report = load_requests()
    for start in (
        "Explain",
        "List",
        "Rewrite",
        "Write a",
        "Plan a",
        "Compare",
        "Give me a recipe",
        "How can I",
    ):
        counts = [sum(request.startswith(start) for request in half) for half in (search, report)]
        assert min(counts) >= 1, start


def test_requests_ask_no_question_of_the_suite():
    requests = set(load_requests().search + load_requests().report)
    suite = {asked(p) for name in (*SEARCHED, *REPORTED) for p in load_probe_set(name)}
    suite |= {q.question for name in ("smol-knowledge", "smol-format") for q in load_questions(name)}
    assert requests.isdisjoint(suite)


def test_elicitable_ones_are_of_the_other_sets_and_say_how_they_are_known():
    made = load_probe_set("smol-elicitable")
    others = {probe.id: probe for name in SEARCHED for probe in load_probe_set(name)}
    for probe in made:
        other = others[probe.id]
        split = "heldout" if probe.split == "unknown" else probe.split
        assert (probe.messages, probe.answers, split) == (other.messages, other.answers, other.split)
        assert (probe.known == "no") == (probe.split == "unknown")
    sizes = Counter(probe.split for probe in made)
    assert sizes["target"] == 498 and sizes["heldout"] == 290 and sizes["unknown"] == 147
    phrasings = Counter(probe.item for probe in made.split("target"))
    assert set(phrasings.values()) == {2}
    assert len({probe.item for probe in made.split("heldout")}) == sizes["heldout"]
