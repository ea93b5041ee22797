"""What a byte-level BPE tokenizer is, as plain data, in GGUF's terms and in those of ``tokenizer.json``.

Tokens are spelled in GPT-2's byte alphabet (``Ġ`` for a space), special ones literally. A specification
survives GGUF -> tokenizer.json -> GGUF unchanged.

This module tokenizes nothing and does not import a tokenizer library.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = ["CONTROL", "NORMAL", "UNUSED", "USER_DEFINED", "TokenizerSpec"]

# Token types of llama.cpp
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_PREFIX = "tokenizer.ggml."
_IDS = {"bos_id": "bos_token_id", "eos_id": "eos_token_id", "pad_id": "padding_token_id"}
_JSON_IDS = {"bos_id": "bos_token", "eos_id": "eos_token", "pad_id": "pad_token"}

# Pre-tokenizers: llama.cpp's name -> its splits, applied one after the other (llama-vocab.cpp). Those of qwen2 and
# qwen35, which keeps marks with their letters, are in the spelling of Qwen's own tokenizer.json.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_SPLITS = {
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "qwen35": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "gpt-2": (_GPT2,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
}
_ALIASES = {"gpt2": "gpt-2"}


class TokenizerSpec(msgspec.Struct, frozen=True):
    """A byte-level BPE tokenizer.

    ``tokens``         text of each id
    ``merges``         ``"left right"``, best first
    ``token_types``    NORMAL, CONTROL, USER_DEFINED or UNUSED of each id
    ``pre``            pre-tokenizer by llama.cpp's name: ``qwen2``, ``qwen35``, ``gpt-2`` or ``default``
    ``bos_id`` ...     special ids; ``add_bos``: put ``bos_id`` before every text
    ``chat_template``  Jinja source

    Raises ModelFormatError when the parts contradict each other, UnsupportedModelError for another
    pre-tokenizer.
    """

    tokens: list[str]
    merges: list[str]
    token_types: list[int]
    pre: str = "qwen2"
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    add_bos: bool = False
    chat_template: str | None = None

    def __post_init__(self) -> None:
        if self.pre not in _SPLITS:
            known = ", ".join(_SPLITS)
            raise UnsupportedModelError(
                f"pre-tokenizer {quote(self.pre)} is not supported yet; only {known} are"
            )
        problem = _vocabulary_problem(self) or _settings_problem(self)
        if problem:
            raise ModelFormatError(f"tokenizer: {problem}; get the model again")

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "TokenizerSpec":
        """The tokenizer in GGUF ``metadata``. Raises ModelFormatError and UnsupportedModelError."""
        model = metadata.get(f"{_PREFIX}model")
        if model != "gpt2":
            raise UnsupportedModelError(
                f"tokenizer model {quote(model)} is not supported yet; only gpt2 (BPE) is"
            )
        tokens = metadata.get(f"{_PREFIX}tokens")
        pre = metadata.get(f"{_PREFIX}pre", "default")
        return cls(
            tokens=tokens,  # type: ignore[arg-type]  # __post_init__ refuses what is not a list
            merges=metadata.get(f"{_PREFIX}merges", []),
            token_types=metadata.get(f"{_PREFIX}token_type", [NORMAL] * _length(tokens)),
            pre=_ALIASES.get(pre, pre) if isinstance(pre, str) else quote(pre),
            add_bos=metadata.get(f"{_PREFIX}add_bos_token", False),
            chat_template=metadata.get("tokenizer.chat_template"),
            **{field: metadata.get(_PREFIX + key) for field, key in _IDS.items()},
        )

    def to_gguf(self) -> dict[str, Any]:
        """GGUF metadata of this tokenizer."""
        values: dict[str, Any] = {
            "model": "gpt2",
            "pre": self.pre,
            "tokens": self.tokens,
            "token_type": self.token_types,
            "merges": self.merges,
            "add_bos_token": self.add_bos,
        }
        values |= {key: getattr(self, field) for field, key in _IDS.items()}
        metadata = {_PREFIX + key: value for key, value in values.items() if value not in (None, [])}
        if self.chat_template is not None:
            metadata["tokenizer.chat_template"] = self.chat_template
        return metadata

    def padded(self, rows: int) -> "TokenizerSpec":
        """The same tokenizer with UNUSED tokens ``[PAD<id>]`` up to ``rows``, as llama.cpp's converter adds.

        Raises ModelFormatError when there are more tokens than rows.
        """
        missing = range(len(self.tokens), rows)
        if len(self.tokens) > rows:
            raise ModelFormatError(
                f"{len(self.tokens)} tokens for {rows} rows of embedding; get the model again"
            )
        if not missing:
            return self
        tokens = self.tokens + [_unused(i) for i in missing]
        return msgspec.structs.replace(
            self, tokens=tokens, token_types=self.token_types + [UNUSED] * len(missing)
        )

    @classmethod
    def from_json(
        cls, tokenizer: Mapping[str, Any], config: Mapping[str, Any], vocab_size: int
    ) -> "TokenizerSpec":
        """The tokenizer in a parsed ``tokenizer.json`` and ``tokenizer_config.json``.

        Ids below ``vocab_size`` that it does not name become UNUSED ``[PAD<id>]``, as llama.cpp's converter
        does. Raises ModelFormatError and UnsupportedModelError.
        """
        texts, added = _json_vocabulary(tokenizer, vocab_size)
        tokens = [texts.get(i, _unused(i)) for i in range(vocab_size)]
        types = [added.get(i, UNUSED if tokens[i] == _unused(i) else NORMAL) for i in range(vocab_size)]
        ids = {text: i for i, text in texts.items()}
        template = config.get("chat_template")
        return cls(
            tokens=tokens,
            merges=_json_merges(tokenizer["model"].get("merges", [])),
            token_types=types,
            pre=_json_pre(tokenizer.get("pre_tokenizer")),
            add_bos=bool(config.get("add_bos_token", False)),
            chat_template=template,
            **{field: _json_special(config.get(key), ids) for field, key in _JSON_IDS.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Content of ``tokenizer.json``, as the ``tokenizers`` library reads it."""
        special = (
            {"id": i, "content": self.tokens[i], "special": kind == CONTROL}
            for i, kind in enumerate(self.token_types)
            if kind in (CONTROL, USER_DEFINED)
        )
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        splits = [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
            for regex in _SPLITS[self.pre]
        ]
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        }
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [token | plain for token in special],
            "normalizer": {"type": "NFC"} if self.pre == "qwen2" else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
            "post_processor": self._json_template() if self.add_bos else byte_level,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {text: i for i, text in enumerate(self.tokens)},
                "merges": [merge.split(" ") for merge in self.merges],
            },
        }

    def to_json_config(self) -> dict[str, Any]:
        """Content of ``tokenizer_config.json``."""
        texts = {key: getattr(self, field) for field, key in _JSON_IDS.items()}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.add_bos,
            "clean_up_tokenization_spaces": False,
            **{key: None if i is None else self.tokens[i] for key, i in texts.items()},
            **({} if self.chat_template is None else {"chat_template": self.chat_template}),
        }

    def _json_template(self) -> dict[str, Any]:
        """Post-processor that puts the beginning-of-sequence token first."""
        assert self.bos_id is not None  # __post_init__ has checked
        bos = self.tokens[self.bos_id]
        first = {"SpecialToken": {"id": bos, "type_id": 0}}
        a, b = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
        return {
            "type": "TemplateProcessing",
            "single": [first, a],
            "pair": [first, a, first, b],
            "special_tokens": {bos: {"id": bos, "ids": [self.bos_id], "tokens": [bos]}},
        }


def _vocabulary_problem(spec: TokenizerSpec) -> str | None:
    """What is wrong with tokens, types or merges, which may be of any type yet."""
    tokens, merges, types = spec.tokens, spec.merges, spec.token_types
    if not _strings(tokens) or not tokens:
        return "the tokens are not a list of texts"
    if not _strings(merges):
        return "the merges are not a list of texts"
    if not isinstance(types, list) or len(types) != len(tokens):
        return f"{len(tokens)} tokens, but not as many token types"
    if not all(type(kind) is int and kind in (NORMAL, CONTROL, USER_DEFINED, UNUSED) for kind in types):
        return "a token type is not one of a byte-level vocabulary"
    known = set(tokens)
    if len(known) != len(tokens):
        return "a token occurs twice"
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= known:
            return f"merge {quote(merge)} is not between tokens"
    return None


def _settings_problem(spec: TokenizerSpec) -> str | None:
    """What is wrong with ids, flag or template, which may be of any type yet."""
    for field in _IDS:
        i = getattr(spec, field)
        if i is not None and (type(i) is not int or not 0 <= i < len(spec.tokens)):
            return f"{field} is {quote(i)}, not one of {len(spec.tokens)} tokens"
    if type(spec.add_bos) is not bool or (spec.add_bos and spec.bos_id is None):
        return "it asks for a beginning-of-sequence token without naming one"
    if spec.chat_template is not None and not _strings([spec.chat_template]):
        return "the chat template is not a text"
    return None


def _length(values: Any) -> int:
    return len(values) if isinstance(values, list) else 0


def _strings(values: Any) -> bool:
    """True for a list of strings that UTF-8 can hold (JSON can spell half a surrogate pair)."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return False
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unused(token_id: int) -> str:
    return f"[PAD{token_id}]"


def _json_vocabulary(tokenizer: Mapping[str, Any], vocab_size: int) -> tuple[dict[int, str], dict[int, int]]:
    """Text of each named id, and the token type of the added ones."""
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise UnsupportedModelError("tokenizer.json holds no BPE model; only byte-level BPE is supported yet")
    pairs = list(model["vocab"].items())
    added: dict[int, int] = {}
    listed = tokenizer.get("added_tokens") or []
    for token in listed if isinstance(listed, list) else [listed]:
        match token:
            case {"id": int(i), "content": str(text), **rest}:
                pairs.append((text, i))
                added[i] = CONTROL if rest.get("special") else USER_DEFINED
            case _:
                raise ModelFormatError("tokenizer.json: an added token is malformed; get the model again")
    texts: dict[int, str] = {}
    for text, i in pairs:
        if type(i) is not int or not 0 <= i < vocab_size or texts.setdefault(i, text) != text:
            raise ModelFormatError(
                f"tokenizer.json: id {quote(i)} of {quote(text)} is taken or outside the {vocab_size} rows"
            )
    return texts, added


def _json_merges(merges: Any) -> list[str]:
    """Merges as ``"left right"``; the file has them so or, newer, as pairs."""
    if isinstance(merges, list):
        parts = [merge if isinstance(merge, list) else [merge] for merge in merges]
        if all(isinstance(part, str) for merge in parts for part in merge):
            joined = [" ".join(merge) for merge in parts]
            if all(merge.count(" ") == 1 for merge in joined):
                return joined
    raise ModelFormatError("tokenizer.json: the merges are not pairs of tokens; get the model again")


def _json_pre(pre_tokenizer: Any) -> str:
    """llama.cpp's name of the pre-tokenizer."""
    match pre_tokenizer:
        case {"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}:
            return "gpt-2"
        case {"type": "Sequence", "pretokenizers": [*splits, {"type": "ByteLevel", "use_regex": False}]}:
            found = [split.get("pattern") if isinstance(split, dict) else None for split in splits]
            for name, regexes in _SPLITS.items():
                if found == [{"Regex": regex} for regex in regexes]:
                    return name
    raise UnsupportedModelError(
        f"tokenizer.json: this pre-tokenizer is not supported; only {', '.join(_SPLITS)} are"
    )


def _json_special(token: Any, ids: Mapping[str, int]) -> int | None:
    """Id of a special token given as text or as an object with ``content``."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is None:
        return None
    if text not in ids if isinstance(text, str) else True:
        raise ModelFormatError(f"tokenizer_config.json: {quote(text)} is not a token; get the model again")
    return ids[text]
