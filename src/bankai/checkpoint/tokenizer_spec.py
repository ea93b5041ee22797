"""What a byte-level BPE tokenizer is, as plain data, in GGUF's terms and in those of ``tokenizer.json``.

Tokens are spelled in GPT-2's byte alphabet (``Ġ`` for a space), special ones literally. A specification
survives GGUF -> tokenizer.json -> GGUF unchanged.

This module tokenizes nothing and does not import a tokenizer library.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bankai.checkpoint.end_tokens import find_ends
from bankai.checkpoint.pre_tokenizers import PRE_TOKENIZERS, canonical_name, name_in_json
from bankai.checkpoint.tokenizer_json import (
    DEFAULT,
    MAX_TEMPLATES,
    chat_templates,
    declared_ends,
    first_special,
    merges,
    special_id,
    vocabulary,
)
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = ["CONTROL", "NORMAL", "UNUSED", "USER_DEFINED", "TokenizerSpec"]

# Token types of llama.cpp
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

_PREFIX = "tokenizer.ggml."
_IDS = {
    "bos_id": "bos_token_id",
    "eos_id": "eos_token_id",
    "eot_id": "eot_token_id",
    "eom_id": "eom_token_id",
    "pad_id": "padding_token_id",
}
_JSON_IDS = {
    "bos_id": "bos_token",
    "eos_id": "eos_token",
    "eot_id": "eot_token",
    "eom_id": "eom_token",
    "pad_id": "pad_token",
}
# Tokens of fill-in-the-middle at which llama.cpp ends a text.
_FILL_IDS = ("fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id")

_TEMPLATE, _TEMPLATES = "tokenizer.chat_template", "tokenizer.chat_templates"
_LONGEST_NAME = 100


class TokenizerSpec(msgspec.Struct, frozen=True):
    """A byte-level BPE tokenizer as data.

    ``tokens``           text of each id
    ``merges``           ``"left right"``, best first
    ``token_types``      NORMAL, CONTROL, USER_DEFINED or UNUSED of each id
    ``pre``              pre-tokenizer by llama.cpp's name, one of ``PRE_TOKENIZERS``
    ``bos_id`` ...       special ids; ``add_bos``: put ``bos_id`` before every text
    ``eot_id``           end of a turn, ``eom_id`` end of a message, where they are not ``eos_id``
    ``end_ids``          more ends of a text that the model declares, ascending
    ``chat_template``    Jinja source of the default chat template
    ``other_templates``  those of other chat templates by name

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
    eot_id: int | None = None
    eom_id: int | None = None
    end_ids: list[int] = []
    other_templates: dict[str, str] = {}

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "pre", canonical_name(self.pre))
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
        pre = canonical_name(metadata.get(f"{_PREFIX}pre", "default"))
        default, others = _gguf_templates(metadata)
        ids: dict[str, Any] = {field: metadata.get(_PREFIX + key) for field, key in _IDS.items()}
        spec = cls(
            tokens=tokens,  # type: ignore[arg-type]  # __post_init__ refuses what is not a list
            merges=metadata.get(f"{_PREFIX}merges", []),
            token_types=metadata.get(f"{_PREFIX}token_type", [NORMAL] * _length(tokens)),
            pre=pre,
            add_bos=metadata.get(f"{_PREFIX}add_bos_token", PRE_TOKENIZERS[pre].add_bos),
            chat_template=default,
            other_templates=others,
            **ids,
        )
        return spec._with_ends(metadata.get(_PREFIX + key) for key in _FILL_IDS)

    def to_gguf(self) -> dict[str, Any]:
        """GGUF metadata of this tokenizer, but for its ``end_ids``, which have no key there."""
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
            metadata[_TEMPLATE] = self.chat_template
        if self.other_templates:
            metadata[_TEMPLATES] = list(self.other_templates)
        return metadata | {f"{_TEMPLATE}.{name}": text for name, text in self.other_templates.items()}

    @property
    def ends(self) -> frozenset[int]:
        """All ids that end a text: those of the fields, and what llama.cpp takes for one by its text."""
        fields = (self.eos_id, self.eot_id, self.eom_id, *self.end_ids)
        return find_ends(self.tokens, (i for i in fields if i is not None))

    @property
    def templates(self) -> dict[str, str]:
        """All chat templates by name; the plain one is called ``default``."""
        default = {} if self.chat_template is None else {DEFAULT: self.chat_template}
        return default | self.other_templates

    def _with_ends(self, declared: Iterable[Any]) -> "TokenizerSpec":
        """The same tokenizer, with ends that its files declare as values of ``eos_token_id``.

        They take free places of the fields that GGUF has a key for first. Raises ModelFormatError.
        """
        ends = self.ends
        new = [i for i in declared_ends(declared, len(self.tokens)) if i not in ends]
        if not new:
            return self
        free = [field for field in ("eos_id", "eot_id", "eom_id") if getattr(self, field) is None]
        taken = dict(zip(free, new, strict=False))
        return msgspec.structs.replace(self, **taken, end_ids=sorted({*self.end_ids, *new[len(taken) :]}))

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
        cls,
        tokenizer: Mapping[str, Any],
        config: Mapping[str, Any],
        vocab_size: int,
        ends: Iterable[Any] = (),
    ) -> "TokenizerSpec":
        """The tokenizer in a parsed ``tokenizer.json`` and ``tokenizer_config.json``.

        ``ends``: what ``config.json`` and ``generation_config.json`` have as ``eos_token_id``. Ids below
        ``vocab_size`` that have no name become UNUSED ``[PAD<id>]``, as llama.cpp's converter does. Raises
        ModelFormatError and UnsupportedModelError.
        """
        texts, added = vocabulary(tokenizer, vocab_size)
        tokens = [texts.get(i, _unused(i)) for i in range(vocab_size)]
        types = [UNUSED if tokens[i] == _unused(i) else NORMAL for i in range(vocab_size)]
        for i, special in added.items():
            types[i] = CONTROL if special else USER_DEFINED
        pre = name_in_json(tokenizer.get("pre_tokenizer"))
        if PRE_TOKENIZERS[pre].ignore_merges and not tokenizer["model"].get("ignore_merges", True):
            raise UnsupportedModelError(
                f"tokenizer.json: {pre} without ignore_merges is not supported yet; use a GGUF file"
            )
        ids = {text: i for i, text in texts.items()}
        named: dict[str, Any] = {field: special_id(config.get(key), ids) for field, key in _JSON_IDS.items()}
        first = special_id(first_special(tokenizer.get("post_processor")), ids)
        if first is not None and named["bos_id"] not in (None, first):
            raise UnsupportedModelError(
                f"tokenizer.json puts {quote(tokens[first])} before every text, not the token that begins one; "
                "not supported yet"
            )
        templates = chat_templates(config.get("chat_template"))
        spec = cls(
            tokens=tokens,
            merges=merges(tokenizer["model"].get("merges", [])),
            token_types=types,
            pre=pre,
            add_bos=first is not None or bool(config.get("add_bos_token", False)),
            chat_template=templates.pop(DEFAULT, None),
            other_templates=templates,
            **named | ({} if first is None else {"bos_id": first}),
        )
        return spec._with_ends(ends)

    def to_json(self) -> dict[str, Any]:
        """Content of ``tokenizer.json``, as the ``tokenizers`` library reads it."""
        special = (
            {"id": i, "content": self.tokens[i], "special": kind == CONTROL}
            for i, kind in enumerate(self.token_types)
            if kind in (CONTROL, USER_DEFINED)
        )
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        }
        pre = PRE_TOKENIZERS[self.pre]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [token | plain for token in special],
            "normalizer": pre.normalizer and {"type": pre.normalizer},
            "pre_tokenizer": pre.to_json(),
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
                "ignore_merges": pre.ignore_merges,
                "vocab": {text: i for i, text in enumerate(self.tokens)},
                "merges": [merge.split(" ") for merge in self.merges],
            },
        }

    def to_json_config(self) -> dict[str, Any]:
        """Content of ``tokenizer_config.json``."""
        ids = {key: getattr(self, field) for field, key in _JSON_IDS.items()}
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": self.add_bos,
            "clean_up_tokenization_spaces": False,
            **{key: self.tokens[i] for key, i in ids.items() if i is not None},
        }
        if self.other_templates:
            named = [{"name": name, "template": text} for name, text in self.templates.items()]
            return config | {"chat_template": named}
        return config | ({} if self.chat_template is None else {"chat_template": self.chat_template})

    def to_generation_config(self) -> dict[str, Any]:
        """Content of ``generation_config.json``: the ends of a text, the usual one first."""
        ends = self.ends
        return {"eos_token_id": sorted(ends, key=lambda i: (i != self.eos_id, i))} if ends else {}

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
    """What is wrong with tokens, types or merges, whose types are not checked yet; None if nothing is."""
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
    """What is wrong with ids, flag or templates, whose types are not checked yet; None if nothing is."""
    for field in _IDS:
        i = getattr(spec, field)
        if i is not None and (type(i) is not int or not 0 <= i < len(spec.tokens)):
            return f"{field} is {quote(i)}, not one of {len(spec.tokens)} tokens"
    if type(spec.add_bos) is not bool or (spec.add_bos and spec.bos_id is None):
        return "it asks for a beginning-of-sequence token without naming one"
    if not isinstance(spec.end_ids, list) or not all(type(i) is int for i in spec.end_ids):
        return "the ends of a text are not a list of ids"
    if not all(0 <= i < len(spec.tokens) for i in spec.end_ids):
        return f"an end of a text is not one of {len(spec.tokens)} tokens"
    names, texts = list(spec.other_templates), list(spec.templates.values())
    if not _strings(texts):
        return "the chat template is not a text"
    if len(names) > MAX_TEMPLATES or not _strings(names) or not all(map(_sound_name, names)):
        return "a chat template has no usable name"
    return None


def _sound_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name != DEFAULT


def _gguf_templates(metadata: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The default chat template and the others by name, unchecked."""
    prefix = f"{_TEMPLATE}."
    others = {key.removeprefix(prefix): metadata[key] for key in metadata if key.startswith(prefix)}
    listed = metadata.get(_TEMPLATES, [])
    if not _strings(listed) or not others.keys() | {DEFAULT} >= set(listed):
        raise ModelFormatError(
            f"{_TEMPLATES} is {quote(listed)}, not a list of chat templates in the file; get the model again"
        )
    default = others.pop(DEFAULT, None)
    return metadata.get(_TEMPLATE, default), others


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
