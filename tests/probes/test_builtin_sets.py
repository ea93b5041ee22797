"""The built-in sets: made by their committed generators, as large as promised, and right.

Answers are checked by other means than made them: slopes by central differences, integrals by the slope of the answer,
primes by trial division, trigonometric values by floating point, Python by running it.
"""

import ast
import hashlib
import math
import operator
import re
import subprocess
import sys
from collections import Counter, defaultdict
from fractions import Fraction
from pathlib import Path

import pytest

from bankai.probes import builtin_probe_sets, load_probe_set

ROOT = Path(__file__).parents[2]
SETS = ROOT / "src/bankai/probes/sets"
TEXTS = SETS.parent / "texts"
QUESTIONS = SETS.parent / "question_sets"
BONSAI = ("bonsai-arithmetic", "bonsai-calculus", "bonsai-code", "bonsai-knowledge", "bonsai-language")
WRITTEN = ("smol-new-kinds", "smol-rephrased", "smol-reworded", "smol-short")
SMOL = ("smol-elicitable", *WRITTEN)  # the first is what a model made of two of the others
FROZEN = {  # published figures refer to these bytes
    "arithmetic": "811dcfd3b3d0358cb97d4bdd9620a7472db95f88cdd21cd2610096d6930938e0",
    "calculus": "0aaaacabb2bc1ffc678b434541237a32291c900dbc9bd84d433a4134c1e70bbf",
    "elicitable": "a0a69dcb057820094fcf3600589a6b044bfad97cfe7a7d719aebf50b7dc7face",
    "knowledge": "04fe678f4a7412c57c2860c667a7cee63c779db6e8c17c5d43fd58039e951f6c",
    "limited": "8b82537f19ae7c948f0f2e006117cffeaa12ab7bcb27bbc60273f8e7eb379be0",
}
NANO = ("controls", "elicitable-more", "elicitable-fresh", *FROZEN)
CALCULUS = ("derivative", "second-derivative", "integral", "primality", "trigonometry", "exponential")
ARITHMETIC = ("addition", "subtraction", "multiplication", "division")
GOALS = ("target", "validation", "heldout")
POINTS = (-1.3, 0.4, 0.9)  # where functions are compared; none is a root of all terms


def asked(probe):
    """What the user wrote."""
    return probe.messages[-1].content if probe.messages else probe.prompt


def context(probe):
    return asked(probe), bool(probe.messages), probe.prefix


def goals(name, category):
    return [p for p in load_probe_set(name) if p.category == category and p.split in GOALS]


def value(text, x=math.nan):
    """A formula as people write it (2x^3, 5x⁴, 3e^{2x}, √3/2, 2^x ln(2)) at x, constant of integration 0."""
    text = text.strip().removesuffix(".").replace("+ C", "")
    text = re.sub(r"[²³⁴⁵⁶⁷⁸⁹]", lambda match: f"^{'⁰¹²³⁴⁵⁶⁷⁸⁹'.index(match[0])}", text)
    text = re.sub(r"√(\d+)", r"sqrt(\1)", text).translate(str.maketrans("{}", "()"))
    tokens = re.findall(r"\d+\.\d+|\d+|sqrt|ln|[xe]|[-+*/^()]", text)
    assert "".join(tokens) == text.replace(" ", ""), f"cannot read {text!r}"
    code = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        ends = before is not None and (before in ("x", "e", ")") or before[0].isdigit())
        begins = token in ("x", "e", "(", "sqrt", "ln") or token[0].isdigit()
        code += ("*" if ends and begins else "") + ("**" if token == "^" else token)
    return eval(code, {"x": x, "e": math.e, "sqrt": math.sqrt, "ln": math.log})


def slope(text, x, step=1e-5):
    return (value(text, x + step) - value(text, x - step)) / (2 * step)


def curvature(text, x, step=1e-3):
    return (value(text, x + step) - 2 * value(text, x) + value(text, x - step)) / step**2


def agree(left, right, tolerance):
    """At every point, relative to the size of the values."""
    pairs = [(left(x), right(x)) for x in POINTS]
    return all(abs(a - b) <= tolerance * max(1, abs(a), abs(b)) for a, b in pairs)


@pytest.mark.parametrize(
    ("model", "names", "beside"),
    [
        ("nano", NANO, [TEXTS / "nano-neutral.txt"]),
        ("bonsai", BONSAI, []),
        ("smol", WRITTEN, [QUESTIONS / "smol-format.jsonl", QUESTIONS / "smol-knowledge.jsonl"]),
    ],
)
def test_generator_writes_the_committed_files(tmp_path, model, names, beside):
    script = ROOT / "models" / model / "probe_sets.py"
    sets, others = tmp_path / "sets", tmp_path / "others"
    folders = [sets, *([others] if beside else [])]
    subprocess.run([sys.executable, script, *folders], check=True, capture_output=True)
    assert sorted(path.stem for path in sets.iterdir()) == sorted(names)
    for name in names:
        assert (sets / f"{name}.jsonl").read_bytes() == (SETS / f"{name}.jsonl").read_bytes(), name
    if beside:
        assert sorted(path.name for path in others.iterdir()) == [path.name for path in beside]
    for path in beside:
        assert (others / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("name", "sha256"), FROZEN.items())
def test_published_sets_are_frozen(name, sha256):
    assert hashlib.sha256((SETS / f"{name}.jsonl").read_bytes()).hexdigest() == sha256


def test_every_built_in_set_is_known_here():
    assert builtin_probe_sets() == tuple(sorted(NANO + BONSAI + SMOL))


@pytest.mark.parametrize("name", NANO + BONSAI + SMOL)
def test_no_prompt_is_asked_twice(name):
    counts = Counter(context(probe) for probe in load_probe_set(name))
    assert [prompt for prompt, count in counts.items() if count > 1] == []


def test_more_controls_begin_with_those_of_every_set():
    controls, old = load_probe_set("controls"), load_probe_set("elicitable").split("control")
    assert controls.splits == ("control",)
    categories = list(dict.fromkeys(probe.category for probe in controls))
    firsts = [[probe for probe in controls if probe.category == category][:8] for category in categories]
    assert sorted(probe.id for first in firsts for probe in first) == sorted(probe.id for probe in old)
    assert {probe for first in firsts for probe in first} == set(old)


def test_more_controls_are_as_many_as_promised():
    sizes = Counter(probe.category for probe in load_probe_set("controls"))
    assert len(sizes) == 16 and sizes.total() == 488
    assert {category: size for category, size in sizes.items() if size != 32} == {"element": 20, "plural": 20}


def test_more_controls_go_round_the_same_clean_phrasings():
    unseen = load_probe_set("elicitable").split("unseen")
    used = {
        category: Counter(p.id.split("/")[2] for p in load_probe_set("controls") if p.category == category)
        for category in {probe.category for probe in unseen}
    }
    for category, turns in used.items():
        assert set(turns) == {p.id.split("/")[2] for p in unseen if p.category == category}
        assert not any(name.startswith("noisy") for name in turns)
        assert max(turns.values()) - min(turns.values()) <= 1


@pytest.mark.parametrize("name", FROZEN)
def test_more_controls_share_no_item_with_what_is_reported_or_aimed_at(name):
    kept = {probe.item for probe in load_probe_set(name) if probe.split != "control"}
    assert kept.isdisjoint(probe.item for probe in load_probe_set("controls"))


def test_more_targets_begin_with_those_of_the_set_and_share_no_item_with_any_other():
    more, old = load_probe_set("elicitable-more"), load_probe_set("elicitable")
    assert more.splits == ("target",)
    assert Counter(probe.category for probe in more) == dict.fromkeys(
        {p.category for p in old.split("target")}, 120
    )
    assert {p for p in more if p.item in {q.item for q in old}} == set(old.split("target"))
    assert all("/noisy" in probe.id for probe in more)
    items = {probe.item for probe in set(more) - set(old)}
    assert len(items) == 450
    for name in ("controls", "elicitable-fresh", "calculus", "limited"):
        assert items.isdisjoint(probe.item for probe in load_probe_set(name))


def test_fresh_held_out_probes_ask_what_nothing_else_asks():
    fresh, old = load_probe_set("elicitable-fresh"), load_probe_set("elicitable").split("heldout")
    assert fresh.splits == ("heldout",)
    assert Counter(probe.category for probe in fresh) == dict.fromkeys({probe.category for probe in old}, 100)
    for category in {probe.category for probe in old}:
        names = [{p.id.split("/")[2] for p in some if p.category == category} for some in (fresh, old)]
        assert names[0] == names[1]
    items = {probe.item for probe in fresh}
    assert len(items) == 500
    for name in (*FROZEN, "controls"):
        assert items.isdisjoint(probe.item for probe in load_probe_set(name))


def test_fresh_opposites_are_not_asked_the_other_way_round():
    old = [p for p in load_probe_set("elicitable") if p.category == "opposite"]
    fresh = {p for p in load_probe_set("controls") if p.category == "opposite"} - set(old)
    assert len(fresh) == 24
    assert {p.item for p in old}.isdisjoint(f"opposite/{p.answers[0].strip()}" for p in fresh)


@pytest.mark.parametrize("name", BONSAI)
def test_files_stay_small(name):
    assert (SETS / f"{name}.jsonl").stat().st_size < 150_000


@pytest.mark.parametrize(
    ("name", "categories", "fewest"),
    [("bonsai-calculus", CALCULUS, 30), ("bonsai-arithmetic", ARITHMETIC, 15)],
)
def test_goals_are_as_large_as_promised(name, categories, fewest):
    probes = load_probe_set(name)
    assert {probe.category for probe in probes if probe.split in GOALS} == set(categories)
    assert sum(probe.split in GOALS for probe in probes) >= 60
    for category in categories:
        mine = goals(name, category)
        shares = Counter(probe.split for probe in mine)
        assert len(mine) >= fewest
        assert len({asked(probe).split(":")[0] for probe in mine}) > 2  # more than one way to ask
        assert any(probe.messages for probe in mine) and any(probe.prompt for probe in mine)
        for split, share in (("target", 0.5), ("validation", 0.15), ("heldout", 0.35)):
            assert abs(shares[split] / len(mine) - share) < 0.03


@pytest.mark.parametrize("name", ["bonsai-calculus", "bonsai-arithmetic"])
def test_sets_carry_all_controls(name):
    probes = load_probe_set(name)
    kept = [probe for probe in probes if probe.split in ("control", "unseen")]
    alone = [
        probe for part in ("code", "knowledge", "language") for probe in load_probe_set(f"bonsai-{part}")
    ]
    assert sorted(probe.id for probe in kept) == sorted(probe.id for probe in alone)
    assert {probe.category for probe in kept} == {"code", "knowledge", "language"}
    assert min(len(probes.split("control")), len(probes.split("unseen"))) >= 120


@pytest.mark.parametrize("name", BONSAI)
def test_answers_can_stand_where_they_are_asked_for(name):
    for probe in load_probe_set(name):
        assert probe.stop == ("<|im_end|>" if probe.messages else "\n")
        assert len(set(probe.answers)) == len(probe.answers)
        assert not any(probe.stop in answer or answer != answer.rstrip() for answer in probe.answers)
        assert probe.distractor not in probe.answers
        before = f"{probe.prompt or ''}{probe.prefix}"
        glued = [answer for answer in probe.answers if not answer.startswith(" ")]
        assert not before.endswith(" ") and (before.endswith("\n") or not glued), probe.id


@pytest.mark.parametrize("name", BONSAI)
def test_no_example_gives_another_item_away(name):
    """An earlier line of one prompt answers no other probe."""
    probes = load_probe_set(name)
    counts = Counter(p.prompt.splitlines()[-1] for p in probes if p.prompt)
    last_lines = [line for line, count in counts.items() if count == 1]  # not a bare "Answer:"
    for probe in probes:
        for line in (probe.prompt or "").splitlines()[:-1]:
            answered = [asking for asking in last_lines if line.startswith(f"{asking} ")]
            assert answered == [], f"{probe.id} shows {line!r}"


def function_of(probe):
    """The function in the question, which must be the item's."""
    function = probe.item.partition("/")[2].partition(" from ")[0]
    typed = re.sub(r"[²³⁴⁵⁶⁷⁸⁹]", lambda match: f"^{'⁰¹²³⁴⁵⁶⁷⁸⁹'.index(match[0])}", asked(probe))
    whole = rf"(?<=[ (])(?<![-+*^] ){re.escape(function)}(?=[?),.\n]| with | twice| from )"
    assert re.search(whole, typed), f"{probe.id} does not ask for {function!r}"
    return function


@pytest.mark.parametrize("category", ["derivative", "exponential"])
def test_derivatives_are_slopes(category):
    for probe in goals("bonsai-calculus", category):
        f = function_of(probe)
        for answer in probe.answers:
            # Central differences err by step² f'''/6, here below 1e-6 of the value.
            assert agree(lambda x, a=answer: value(a, x), lambda x, f=f: slope(f, x), 1e-5), (
                probe.id,
                answer,
            )
        assert not agree(lambda x, d=probe.distractor: value(d, x), lambda x, f=f: slope(f, x), 1e-3), (
            probe.id
        )


def test_second_derivatives_are_curvatures():
    for probe in goals("bonsai-calculus", "second-derivative"):
        f = function_of(probe)
        for answer in probe.answers:
            assert agree(lambda x, a=answer: value(a, x), lambda x, f=f: curvature(f, x), 1e-4), (
                probe.id,
                answer,
            )
        wrong = probe.distractor
        assert not agree(lambda x, d=wrong: value(d, x), lambda x, f=f: curvature(f, x), 1e-3), probe.id


def test_integrals_have_the_function_as_slope():
    indefinite = [p for p in goals("bonsai-calculus", "integral") if p.item.startswith("integral/")]
    assert len(indefinite) >= 30
    for probe in indefinite:
        f = function_of(probe)
        assert any("+ C" in answer for answer in probe.answers)
        assert any("C" not in answer for answer in probe.answers)
        for answer in probe.answers:
            assert agree(lambda x, a=answer: slope(a, x), lambda x, f=f: value(f, x), 1e-5), (
                probe.id,
                answer,
            )
        assert not agree(lambda x, d=probe.distractor: slope(d, x), lambda x, f=f: value(f, x), 1e-3), (
            probe.id
        )


def test_definite_integrals_are_areas():
    definite = [p for p in goals("bonsai-calculus", "integral") if p.item.startswith("definite-integral/")]
    assert definite
    for probe in definite:
        f = function_of(probe)
        a, b = map(int, re.search(r"from (?:x = )?(\d) to (?:x = )?(\d)", asked(probe)).groups())
        assert probe.item.endswith(f" from {a} to {b}")
        steps = 400  # Simpson: error below 1e-7 for these powers
        xs = [a + (b - a) * i / steps for i in range(steps + 1)]
        weights = [1, *([4, 2] * (steps // 2))[: steps - 1], 1]
        area = sum(w * value(f, x) for w, x in zip(weights, xs, strict=True)) * (b - a) / steps / 3
        for answer in probe.answers:
            assert float(answer) == pytest.approx(area, abs=1e-4), probe.id
        assert probe.distractor is None or abs(float(probe.distractor) - area) > 0.5


def test_primes_are_primes():
    by_split = defaultdict(Counter)
    for probe in goals("bonsai-calculus", "primality"):
        n = int(probe.item.partition("/")[2])
        assert re.findall(r"\d+", f"{asked(probe)}{probe.prefix}")[-1] == str(n)
        is_prime = all(n % divisor for divisor in range(2, n))
        right = {"yes", "prime"} if is_prime else {"no", "composite"}
        assert {answer.strip(" .").lower() for answer in probe.answers} <= right
        assert probe.distractor.strip().lower() in {"yes", "prime", "no", "composite"} - right
        assert all(word in asked(probe).lower() for word in right & {probe.answers[0].strip().lower()})
        by_split[probe.split][is_prime] += 1
    for counts in by_split.values():  # a constant answer is right for half of them
        assert abs(counts[True] - counts[False]) <= 1


def angle(text):
    """Degrees or radians, in radians."""
    if text.endswith("°"):
        return math.radians(float(text[:-1]))
    top, _, bottom = text.partition("/")
    if "π" not in top:
        return float(top)
    factor = {"": 1, "-": -1}.get(top[:-1]) or float(top[:-1])
    return factor * math.pi / float(bottom or 1)


def test_trigonometric_values_are_exact():
    for probe in goals("bonsai-calculus", "trigonometry"):
        name, inside = re.findall(r"(sin|cos|tan)\(([^)]*)\)", asked(probe))[-1]
        right = getattr(math, name)(angle(inside))
        item_name, item_angle = re.fullmatch(r"trigonometry/(\w+)\((.*)\)", probe.item).groups()
        assert item_name == name and angle(item_angle) == pytest.approx(angle(inside))
        for answer in probe.answers:
            assert value(answer) == pytest.approx(right, abs=1e-9), (probe.id, answer)
        assert value(probe.distractor) != pytest.approx(right, abs=0.1), probe.id


OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": Fraction}
WORDS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}


@pytest.mark.parametrize("category", ARITHMETIC)
def test_arithmetic_is_right(category):
    for probe in goals("bonsai-arithmetic", category):
        found = re.findall(r"(\d+) ([-+*/]|plus|minus|times|divided by) (\d+)", asked(probe))[-1]
        a, sign, b = int(found[0]), WORDS.get(found[1], found[1]), int(found[2])
        assert probe.item == f"{category}/{a} {sign} {b}"
        right = OPERATIONS[sign](a, b)
        assert all(Fraction(answer.strip(" .")) == right for answer in probe.answers)
        assert int(probe.distractor) != right


def test_published_examples_are_targets():
    targets = {p.item for name in BONSAI[:2] for p in load_probe_set(name).split("target")}
    assert {
        "derivative/x^4 + 3x^2",
        "second-derivative/x^4",
        "addition/2 + 2",
        "multiplication/7 * 8",
    } <= targets


def test_python_lines_compile_and_values_are_right():
    for probe in load_probe_set("bonsai-code"):
        if probe.item.startswith("python-line/"):
            for answer in probe.answers:
                ast.parse(f"{probe.prompt}{answer}\n")
        else:
            expression = probe.item.partition("/")[2]
            assert probe.prompt.endswith(f">>> {expression}\n")
            assert [ast.literal_eval(answer) for answer in probe.answers] == [eval(expression)]
