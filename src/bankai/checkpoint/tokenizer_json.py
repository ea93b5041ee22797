"""What a parsed ``tokenizer.json`` and the files beside it say, checked.

This module knows those files; what is made of them is for `bankai.checkpoint.tokenizer_spec`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = [
    "DEFAULT",
    "MAX_TEMPLATES",
    "chat_templates",
    "declared_ends",
    "first_special",
    "merges",
    "special_id",
    "vocabulary",
]

DEFAULT = "default"
"""The name of the chat template that is used when none is named."""
MAX_TEMPLATES = 64
_MAX_ENDS = 256


def vocabulary(tokenizer: Mapping[str, Any], vocab_size: int) -> tuple[dict[int, str], dict[int, bool]]:
    """The text of each named id, and whether each added one is special.

    Raises ModelFormatError and UnsupportedModelError.
    """
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise UnsupportedModelError("tokenizer.json holds no BPE model; only byte-level BPE is supported yet")
    pairs = list(model["vocab"].items())
    added: dict[int, bool] = {}
    listed = tokenizer.get("added_tokens") or []
    for token in listed if isinstance(listed, list) else [listed]:
        match token:
            case {"id": int(i), "content": str(text), **rest}:
                pairs.append((text, i))
                added[i] = bool(rest.get("special"))
            case _:
                raise ModelFormatError("tokenizer.json: an added token is malformed; get the model again")
    texts: dict[int, str] = {}
    for text, i in pairs:
        if type(i) is not int or not 0 <= i < vocab_size or texts.setdefault(i, text) != text:
            raise ModelFormatError(
                f"tokenizer.json: id {quote(i)} of {quote(text)} is taken or outside the {vocab_size} rows; "
                "get the model again"
            )
    return texts, added


def merges(found: Any) -> list[str]:
    """Merges as ``"left right"``; the file has them so or, newer, as pairs. Raises ModelFormatError."""
    if isinstance(found, list):
        parts = [merge if isinstance(merge, list) else [merge] for merge in found]
        if all(isinstance(part, str) for merge in parts for part in merge):
            joined = [" ".join(merge) for merge in parts]
            if all(merge.count(" ") == 1 for merge in joined):
                return joined
    raise ModelFormatError("tokenizer.json: the merges are not pairs of tokens; get the model again")


def special_id(token: Any, ids: Mapping[str, int]) -> int | None:
    """Id of a special token given as text or as an object with ``content``. Raises ModelFormatError."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is None:
        return None
    if text not in ids if isinstance(text, str) else True:
        raise ModelFormatError(f"tokenizer_config.json: {quote(text)} is not a token; get the model again")
    return ids[text]


def first_special(post_processor: Any) -> Any:
    """The name of the special token that a ``post_processor`` puts before every text; None if it puts none."""
    match post_processor:
        case {"type": "Sequence", "processors": [*steps]}:
            pass
        case step:
            steps = [step]
    for step in steps:
        match step:
            case {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": first}}, *_]}:
                return first
    return None


def declared_ends(values: Iterable[Any], vocab_size: int) -> list[int]:
    """The ids in some values of ``eos_token_id``, each an id, a list of them or None; each id once, in order.

    Raises ModelFormatError.
    """
    found: dict[int, None] = {}
    for value in values:
        ids = [] if value is None else value if isinstance(value, list) else [value]
        if len(ids) > _MAX_ENDS or not all(type(i) is int and 0 <= i < vocab_size for i in ids):
            raise ModelFormatError(
                f"the model ends texts at {quote(value)}, not at a token of {vocab_size} or a short list of them; "
                "get it again"
            )
        found |= dict.fromkeys(ids)
    return list(found)


def chat_templates(found: Any) -> dict[str, str]:
    """Chat templates by name, from one text or a list of objects with ``name`` and ``template``.

    Raises ModelFormatError.
    """
    if found is None:
        return {}
    if isinstance(found, str):
        return {DEFAULT: found}
    templates: dict[str, str] = {}
    for entry in found if isinstance(found, list) else [found]:
        match entry:
            case {"name": str(name), "template": str(template)}:
                templates[name] = template
            case _:
                raise ModelFormatError(
                    "tokenizer_config.json: chat_template is neither a text nor a list of names and templates; "
                    "get the model again"
                )
    return templates
