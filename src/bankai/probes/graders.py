"""Graders: what makes a free reply right, where an answer word for word would ask for too much.

In a table a grader is a short text: its kind, after a colon what it takes, and `not` before it for the opposite.

========================  ==============================================================================
`exact`                   the reply is one of the row's answers
`contains`                an answer stands in the reply as a whole word or phrase, in any case
`starts`                  the reply begins with an answer, as whole words in any case
`regex:PATTERN`           the pattern occurs in the reply; without one the row's answers are the patterns
`number`, `number:0.01`   the last number in the reply is an answer, give or take; `number:1%` is relative
`choice:yes,no,maybe`     of these choices the reply names an answer, as a whole word, and no other
`json`                    the reply is JSON, alone or in one code block
`json:name,age`           it is an object that has these keys
`json:{"age": 7}`         it is an object that has these values
`length:1-20 words`       so long; also `characters` and `lines`, and either end may be left out
========================  ==============================================================================

In a probe set a grader is an object that holds its answers: ``{"kind": "contains", "answers": ["Paris"]}``. Patterns
are those of RE2 (https://github.com/google/re2/wiki/Syntax), which reads any text in linear time and bounded memory.
"""

import json
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, get_args

import msgspec

from bankai.errors import MissingExtraError, ProbeFormatError
from bankai.io import quote
from bankai.probes.words import has_word, normalized

__all__ = [
    "Choice",
    "Contains",
    "Exact",
    "Grader",
    "Json",
    "Length",
    "Not",
    "Number",
    "Regex",
    "Starts",
    "parse_grader",
    "read_json",
]

KINDS = ("exact", "contains", "starts", "regex", "number", "choice", "json", "length")
Unit = Literal["words", "characters", "lines"]
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(?P<inside>.*)\n```", re.DOTALL | re.IGNORECASE)
_SIGN = r"(?:(?<![\w.,%)])[-+−])?"  # a hyphen after a word or number is none
_NUMBER = re.compile(
    rf"{_SIGN}(?:\d{{1,3}}(?:,\d{{3}})+(?!\d|,\d)|\d+|(?<!\d)(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d{{1,3}}\b)?"
)
_LENGTH = re.compile(
    r"(?P<least>\d{0,6})\s*-\s*(?P<most>\d{0,6})\s*(?P<unit>[a-z]*)|(?P<same>\d{1,6})\s*(?P<of>[a-z]*)"
)


class _Grader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"):
    """`accepts` says whether a reply is right; blanks around it do not count."""

    def accepts(self, reply: str) -> bool:
        raise NotImplementedError


class _Answered(_Grader, frozen=True):
    """A grader that compares with the answers of its row. Raises ProbeFormatError without one."""

    answers: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.answers or not all(answer.strip() for answer in self.answers):
            raise ProbeFormatError("this grader compares with an answer, and there is none; give one")


class Exact(_Answered, frozen=True, tag="exact"):
    """The reply is an answer, letter for letter."""

    def accepts(self, reply: str) -> bool:
        return reply.strip() in {answer.strip() for answer in self.answers}


class Contains(_Answered, frozen=True, tag="contains"):
    """An answer is in the reply as a whole word or phrase."""

    def accepts(self, reply: str) -> bool:
        return has_word(reply, self.answers)


class Starts(_Answered, frozen=True, tag="starts"):
    """The reply begins with an answer."""

    def accepts(self, reply: str) -> bool:
        said = normalized(reply)
        wanted = (normalized(answer) for answer in self.answers)
        return any(
            said.startswith(answer) and has_word(said[: len(answer) + 2], [answer]) for answer in wanted
        )


class Regex(_Grader, frozen=True, tag="regex"):
    """One of the patterns occurs in the reply. Raises ProbeFormatError for one that is too large or unsound."""

    patterns: tuple[str, ...]

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            _compiled(pattern)

    def accepts(self, reply: str) -> bool:
        return any(_compiled(pattern).search(reply.strip()) for pattern in self.patterns)


class Number(_Answered, frozen=True, tag="number"):
    """The last number of the reply is an answer, within `tolerance`, of the answer itself where it is `relative`."""

    tolerance: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for answer in self.answers:
            if _last_number(answer) is None:
                raise ProbeFormatError(
                    f"the answer {quote(answer)} holds no number; give one, or another grader"
                )
        if not 0 <= self.tolerance < math.inf:
            raise ProbeFormatError(f"a tolerance of {self.tolerance:g} cannot be; give a number from 0")

    def accepts(self, reply: str) -> bool:
        said = _last_number(reply)
        return said is not None and any(self._near(said, _last_number(answer)) for answer in self.answers)

    def _near(self, said: float, wanted: float | None) -> bool:
        assert wanted is not None  # refused above
        allowed = self.tolerance * (abs(wanted) if self.relative else 1.0)
        return abs(said - wanted) <= allowed + 1e-15 * abs(wanted)  # 0.3 and 0.1 + 0.2 are one number


class Choice(_Answered, frozen=True, tag="choice"):
    """Of the choices the reply names an answer, and no other."""

    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {*map(normalized, self.answers)} <= {*map(normalized, self.choices)}:
            shown = ", ".join(map(quote, self.choices)) or "none"
            raise ProbeFormatError(
                f"the answer {quote(self.answers[0])} is none of the choices ({shown}); add it"
            )

    def accepts(self, reply: str) -> bool:
        right, left = {*map(normalized, self.answers)}, normalized(reply)
        named = False
        for choice in sorted(
            {*map(normalized, self.choices)}, key=len, reverse=True
        ):  # very good before good
            if has_word(left, [choice]):
                if choice not in right:
                    return False
                named, left = True, left.replace(choice, "|")
        return named


class Json(_Grader, frozen=True, tag="json"):
    """The reply is JSON; with `keys` or `values` an object that has them, and may have others."""

    keys: tuple[str, ...] = ()
    values: dict[str, Any] = {}

    def accepts(self, reply: str) -> bool:
        value = read_json(reply)
        if not self.keys and not self.values:
            return value is not None
        return (
            isinstance(value, dict)
            and value.keys() >= {*self.keys, *self.values}
            and all(_spelled(value[key]) == _spelled(wanted) for key, wanted in self.values.items())
        )


class Length(_Grader, frozen=True, tag="length"):
    """So many words, characters or lines; `most` None is any number."""

    least: int = 0
    most: int | None = None
    unit: Unit = "words"

    def __post_init__(self) -> None:
        if self.most is not None and self.most < self.least:
            raise ProbeFormatError(
                f"no reply has {self.least} to {self.most} {self.unit}; give the smaller one first"
            )

    def accepts(self, reply: str) -> bool:
        text = reply.strip()
        count = {"words": len(text.split()), "characters": len(text), "lines": len(text.splitlines())}[
            self.unit
        ]
        return self.least <= count and (self.most is None or count <= self.most)


class Not(_Grader, frozen=True, tag="not"):
    """Right when the other grader says wrong."""

    grader: "Grader"

    def accepts(self, reply: str) -> bool:
        return not self.grader.accepts(reply)


Grader = Exact | Contains | Starts | Regex | Number | Choice | Json | Length | Not


def parse_grader(text: str, answers: Sequence[str]) -> Grader:
    """The grader that a table spells, for a row with these answers. Raises ProbeFormatError with the remedy."""
    negated = re.match(r"\s*not\s+", text, re.IGNORECASE)
    kind, _, argument = text[negated.end() if negated else 0 :].partition(":")
    grader = _parsed(kind.strip().lower(), argument.strip(), tuple(answers))
    return Not(grader) if negated else grader


def read_json(reply: str) -> Any:
    """The value that a reply is, alone or in one code block; None for none, and for one that names a key twice."""
    fenced = _FENCE.fullmatch(reply.strip())
    try:
        return json.loads(
            fenced["inside"] if fenced else reply, object_pairs_hook=_without_repeats, parse_constant=_refused
        )
    except (ValueError, RecursionError):
        return None


def _parsed(kind: str, argument: str, answers: tuple[str, ...]) -> Grader:
    match kind, argument:
        case "exact", "":
            return Exact(answers)
        case "contains", "":
            return Contains(answers)
        case "starts", "":
            return Starts(answers)
        case "regex", _:
            return Regex(_patterns(argument, answers))
        case "number", _:
            return _number(argument, answers)
        case "choice", _:
            return Choice(answers, tuple(filter(None, map(str.strip, argument.split(",")))))
        case "json", _:
            return _json(argument)
        case "length", _:
            return _length(argument)
        case "exact" | "contains" | "starts", _:
            raise ProbeFormatError(f"the grader {kind} takes the row's answers and nothing after a colon")
    raise ProbeFormatError(f"no grader {quote(kind)}; give one of {', '.join(KINDS)}, or not and one of them")


def _patterns(argument: str, answers: tuple[str, ...]) -> tuple[str, ...]:
    if not (found := (argument,) if argument else answers):
        raise ProbeFormatError("the grader regex has no pattern; give one after a colon, or as the answer")
    return found


def _number(argument: str, answers: tuple[str, ...]) -> Number:
    found = re.fullmatch(r"(\d+(?:\.\d+)?(?:[eE]-?\d{1,2})?)\s*(%?)", argument or "0")
    if not found:
        raise ProbeFormatError(f"the tolerance {quote(argument)} is not like 0.01 or 1%")
    relative = bool(found[2])
    return Number(answers, float(found[1]) / (100 if relative else 1), relative)


def _json(argument: str) -> Json:
    if not argument.startswith("{"):
        return Json(keys=tuple(filter(None, map(str.strip, argument.split(",")))))
    values = read_json(argument)
    if not isinstance(values, dict):
        raise ProbeFormatError(f'{quote(argument)} is no JSON object such as {{"age": 7}}')
    return Json(values=values)


def _length(argument: str) -> Length:
    found = _LENGTH.fullmatch(argument.lower())
    unit: Any = (found and (found["unit"] or found["of"])) or "words"
    if (
        found is None
        or unit not in get_args(Unit)
        or not any(found[name] for name in ("least", "most", "same"))
    ):
        raise ProbeFormatError(
            f"the length {quote(argument)} is not like 1-20 words, -200 characters or 1 lines"
        )
    if found["same"]:
        return Length(int(found["same"]), int(found["same"]), unit)
    return Length(int(found["least"] or 0), int(found["most"]) if found["most"] else None, unit)


@cache
def _compiled(pattern: str) -> Any:
    """Raises ProbeFormatError, MissingExtraError."""
    try:
        import re2
    except ImportError as error:
        raise MissingExtraError(
            "the grader regex needs google-re2; install it with pip install 'bankai[search]'"
        ) from error
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        told = error.args[0] if error.args else ""
        why = told.decode(errors="replace") if isinstance(told, bytes) else told
        raise ProbeFormatError(
            f"the pattern {quote(pattern)} cannot be used ({why}); write it as RE2 has it"
        ) from error


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    if not found:
        return None
    value = float(found[-1].replace(",", "").replace("−", "-"))
    return value if math.isfinite(value) else None


def _spelled(value: Any) -> str:
    """One text for equal JSON values; true is not 1."""
    return json.dumps(value, sort_keys=True)


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice")
    return found
