"""What is wrong with a line of a probe file, in its writer's words: msgspec's messages speak of its own types.

What makes a probe sound, `bankai.probes.probe` says itself.
"""

import re
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec

__all__ = ["explain"]

_WORDS = {
    "str": "text",
    "array": "a list",
    "object": "an object",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
}
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<found>[^`]*)`")
_CHOICE = re.compile(r"Invalid enum value (?P<value>'.*?')(?: - at |\Z)", re.DOTALL)
_PLACE = re.compile(r" - at `\$\.?(?P<place>[^`]*)`\Z")


def explain(error: Exception, record: type[msgspec.Struct]) -> str:
    """Fault and remedy of one line that did not decode to `record`."""
    if isinstance(error, RecursionError):
        return "nested too deeply; write one flat JSON object per line"
    if not isinstance(error, msgspec.ValidationError):
        return "not valid JSON; write one whole JSON object per line, in UTF-8"
    text = str(error)
    match = _PLACE.search(text)
    place = match["place"] if match else ""
    struct = _struct_at(record, place)
    field = f"field {place!r}" if place else "the line"
    if match := _UNKNOWN.match(text):
        return f"unknown field {match['field']!r}; the fields are {', '.join(struct.__struct_fields__)}"
    if match := _MISSING.match(text):
        where = f" of {place!r}" if place else ""
        return f"field {match['field']!r}{where} is missing; add it"
    if match := _CHOICE.match(text):
        return f"{field} is {match['value']}; give one of {', '.join(_choices(struct, place))}"
    if match := _TYPE.match(text):
        return f"{field} is {_words(match['found'])}; give {_words(match['wanted'])}"
    return f"{field} does not fit; the fields are {', '.join(record.__struct_fields__)}"


def _struct_at(record: type[msgspec.Struct], place: str) -> type[msgspec.Struct]:
    """The struct that holds the place: `messages[...].role` is in the struct of `messages`."""
    name, bracket, _ = place.partition("[")
    return _inner(get_type_hints(record).get(name)) or record if bracket else record


def _inner(hint: object) -> type[msgspec.Struct] | None:
    """The struct inside a type such as `tuple[Message, ...] | None`."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    found = (_inner(part) for part in get_args(hint))
    return next((struct for struct in found if struct is not None), None)


def _choices(struct: type[msgspec.Struct], place: str) -> tuple[str, ...]:
    hint = get_type_hints(struct).get(place.rpartition(".")[2])
    kinds = (hint, *get_args(hint))  # an optional field is a union
    return next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())


def _words(kinds: str) -> str:
    """`str | null` as "text or null"."""
    return " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | "))
