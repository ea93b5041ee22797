"""Pre-tokenizers by llama.cpp's names: how a text is cut before tokens are merged.

The expressions are those of llama.cpp's ``src/llama-vocab.cpp``; they decide how this package tokenizes. Published
``tokenizer.json`` files spell some of them otherwise. That spelling is kept beside them, to read and to write it.

This module tokenizes nothing and does not import a tokenizer library.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bankai.errors import UnsupportedModelError
from bankai.io import quote

__all__ = ["PRE_TOKENIZERS", "PreTokenizer", "canonical_name", "name_in_json"]


Step = tuple[str, object]
"""A step of ``pre_tokenizer`` in tokenizer.json: ``Split`` with its expression, ``Digits`` with whether each stands
alone, or ``ByteLevel``, which spells bytes in GPT-2's alphabet, with whether it cuts as GPT-2 does first."""


@dataclass(frozen=True)
class PreTokenizer:
    """One way to cut a text.

    ``expressions``    applied one after the other; what none matches stays a piece of its own
    ``published``      steps of the published tokenizer.json files, where these are not the expressions
    ``normalizer``     of those files, such as ``NFC``; llama.cpp has none
    ``ignore_merges``  a piece that is a token stays whole, whatever the merges make of it
    ``add_bos``        begin every text with the beginning-of-sequence token, unless the model file says otherwise
    """

    expressions: tuple[str, ...]
    published: tuple[Step, ...] = ()
    normalizer: str | None = None
    ignore_merges: bool = False
    add_bos: bool = False

    @property
    def spellings(self) -> tuple[tuple[Step, ...], ...]:
        """All that tokenizer.json may have for it; the first is the one to write."""
        plain = (*(("Split", expression) for expression in self.expressions), _BYTES)
        return (self.published, plain) if self.published else (plain,)

    def to_json(self) -> dict[str, Any]:
        """``pre_tokenizer`` of a tokenizer.json."""
        return {"type": "Sequence", "pretokenizers": [_step_to_json(*step) for step in self.spellings[0]]}


_BYTES, _GPT2_BYTES = ("ByteLevel", False), ("ByteLevel", True)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_LLAMA3 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN35 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _published(expression: str) -> tuple[Step, ...]:
    """The spelling of Llama 3's and Qwen's own files: llama.cpp has no expressions that ignore case."""
    return ("Split", expression.replace(_CONTRACTIONS, r"(?i:'s|'t|'re|'ve|'m|'ll|'d)")), _BYTES


PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")),
    "gpt-2": PreTokenizer((_GPT2,), (_GPT2_BYTES,)),
    "smollm": PreTokenizer((r"\p{N}", _GPT2), (("Digits", True), _GPT2_BYTES)),
    "qwen2": PreTokenizer((_QWEN2,), _published(_QWEN2), normalizer="NFC"),
    "qwen35": PreTokenizer((_QWEN35,), _published(_QWEN35)),
    "llama-bpe": PreTokenizer((_LLAMA3,), _published(_LLAMA3), ignore_merges=True, add_bos=True),
}
"""By llama.cpp's name, the first of several that mean the same."""

# Names that llama.cpp treats alike; "gpt2" is how some converters write it.
_ALIASES = {
    "gpt-2": "gpt2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert",
    "qwen2": "deepseek-r1-qwen kormo f2llmv2",
    "llama-bpe": "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
}
_NAMES = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}


def canonical_name(name: object) -> str:
    """The name in ``PRE_TOKENIZERS`` of what a model file names. Raises UnsupportedModelError."""
    found = _NAMES.get(name, name) if isinstance(name, str) else None
    if found in PRE_TOKENIZERS:
        return str(found)
    raise UnsupportedModelError(
        f"pre-tokenizer {quote(name)} is not supported yet; only {', '.join(PRE_TOKENIZERS)} are"
    )


def name_in_json(pre_tokenizer: object) -> str:
    """The name of the ``pre_tokenizer`` of a parsed tokenizer.json. Raises UnsupportedModelError."""
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": [*listed]}:
            steps = tuple(map(_step_from_json, listed))
        case step:
            steps = (_step_from_json(step),)
    for name, known in PRE_TOKENIZERS.items():
        if steps in known.spellings:
            return name
    raise UnsupportedModelError(
        f"tokenizer.json: this pre-tokenizer is not supported; only {', '.join(PRE_TOKENIZERS)} are"
    )


def _step_to_json(kind: str, value: object) -> dict[str, Any]:
    match kind:
        case "Split":
            return {"type": kind, "pattern": {"Regex": value}, "behavior": "Isolated", "invert": False}
        case "Digits":
            return {"type": kind, "individual_digits": value}
    return {"type": kind, "add_prefix_space": False, "trim_offsets": False, "use_regex": value}


def _step_from_json(step: object) -> Step | None:
    """Without the settings that only move offsets; None for a step that is not known."""
    match step:
        case {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", **rest}:
            return None if rest.get("invert") else ("Split", regex)
        case {"type": "Digits", "individual_digits": individual}:
            return "Digits", individual
        case {"type": "ByteLevel", "add_prefix_space": False, **rest}:
            return "ByteLevel", rest.get("use_regex", True)
    return None
