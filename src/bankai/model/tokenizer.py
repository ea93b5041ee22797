"""A tokenizer specification as a Hugging Face tokenizer that splits text exactly as llama.cpp does.

What it is given was read from a model file by ``bankai.checkpoint``.
"""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bankai.checkpoint.tokenizer_spec import CONTROL, USER_DEFINED, TokenizerSpec
from bankai.errors import ModelFormatError, UnsupportedModelError

__all__ = ["end_tokens", "make_tokenizer"]

_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2 = _CONTRACTIONS + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
# Expressions of llama.cpp's src/llama-vocab.cpp, by its pre-tokenizer names: applied in turn, and what none
# matches stays a piece of its own.
_SPLITS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2,),
    "qwen2": (
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "qwen35": (
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
}


def make_tokenizer(spec: TokenizerSpec) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the file's special tokens and chat template; pads on the left, as generation needs.

    No Unicode normalization, as in llama.cpp. Raises UnsupportedModelError for an unknown pre-tokenizer and
    ModelFormatError when tokens and merges do not fit together.
    """
    tokenizer = Tokenizer(_bpe(spec))
    tokenizer.pre_tokenizer = _pre_tokenizer(spec.pre)
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        texts = [text for text, found in zip(spec.tokens, spec.token_types, strict=True) if found == kind]
        tokenizer.add_tokens([AddedToken(text, special=special, normalized=False) for text in texts])
    bos = _token(spec, spec.bos_id)
    tokenizer.post_processor = _post_processor(bos if spec.add_bos else None, spec.bos_id)
    eos = _token(spec, spec.eos_id)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=_token(spec, spec.pad_id) or eos,
        chat_template=spec.chat_template,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The ids of the tokens that end a text; none where the tokenizer names none."""
    end = tokenizer.eos_token_id
    return frozenset() if end is None else frozenset([int(end)])


def _bpe(spec: TokenizerSpec) -> models.BPE:
    vocabulary = {text: index for index, text in enumerate(spec.tokens)}
    if len(vocabulary) != len(spec.tokens):
        raise ModelFormatError("the tokenizer names a token twice; get the model again")
    merges = [tuple(merge.split(" ")) for merge in spec.merges]
    if any(len(merge) != 2 for merge in merges):
        raise ModelFormatError("a merge of the tokenizer is not a pair of tokens; get the model again")
    try:
        return models.BPE(vocab=vocabulary, merges=merges)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelFormatError(
            f"the tokenizer's merges do not fit its tokens ({error}); get the model again"
        ) from error


def _pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    if name not in _SPLITS:
        raise UnsupportedModelError(
            f"pre-tokenizer {name!r} is not supported yet; only {', '.join(sorted(_SPLITS))} are"
        )
    splits = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in _SPLITS[name]]
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*splits, bytes_only])


def _post_processor(bos: str | None, bos_id: int | None) -> processors.PostProcessor:
    if bos is None:
        return processors.ByteLevel(trim_offsets=False)
    # A name of our own: the token's text may hold what the template reads as syntax.
    begin = {"id": "begin", "ids": [bos_id], "tokens": [bos]}
    return processors.TemplateProcessing(single="begin $A", special_tokens=[begin])


def _token(spec: TokenizerSpec, index: int | None) -> str | None:
    return None if index is None else spec.tokens[index]
