"""A tokenizer specification as a Hugging Face tokenizer that splits text exactly as llama.cpp does.

What it is given was read from a model file by ``bankai.checkpoint``.
"""

from collections.abc import Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from bankai.checkpoint.pre_tokenizers import PRE_TOKENIZERS, PreTokenizer
from bankai.checkpoint.tokenizer_spec import CONTROL, USER_DEFINED, TokenizerSpec
from bankai.errors import ModelFormatError, UnsupportedModelError
from bankai.io import quote

__all__ = ["choose_chat_template", "end_tokens", "make_tokenizer", "missing_template"]


def make_tokenizer(spec: TokenizerSpec) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the file's special tokens and chat template; pads on the left, as generation needs.

    No Unicode normalization, as in llama.cpp. `end_tokens` and `choose_chat_template` know more of it than
    transformers does. Raises ModelFormatError when tokens and merges do not fit together.
    """
    pre = PRE_TOKENIZERS[spec.pre]
    tokenizer = Tokenizer(_bpe(spec, pre.ignore_merges))
    tokenizer.pre_tokenizer = _pre_tokenizer(pre)
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        texts = [text for text, found in zip(spec.tokens, spec.token_types, strict=True) if found == kind]
        tokenizer.add_tokens([AddedToken(text, special=special, normalized=False) for text in texts])
    bos = _token(spec, spec.bos_id)
    tokenizer.post_processor = _post_processor(bos if spec.add_bos else None, spec.bos_id)
    eos = _token(spec, spec.eos_id)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        pad_token=_token(spec, spec.pad_id) or eos,
        chat_template=spec.chat_template,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    made.ends, made.chat_templates, made.chat_template_kwargs = spec.ends, spec.templates, {}
    return made


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of the tokens that end a text; of a tokenizer that is not of :func:`make_tokenizer`, the one it names."""
    eos = tokenizer.eos_token_id
    return getattr(tokenizer, "ends", frozenset() if eos is None else frozenset([eos]))


def choose_chat_template(
    tokenizer: PreTrainedTokenizerBase, name: str | None, variables: Mapping[str, Any] | None = None
) -> None:
    """Let chats be rendered by the model's chat template of that name, and with these variables of it.

    None leaves either as it is. Raises UnsupportedModelError.
    """
    templates = getattr(tokenizer, "chat_templates", {})
    if variables is not None:
        tokenizer.chat_template_kwargs = dict(variables)
    if name is None:
        return
    if name not in templates:
        names = ", ".join(map(quote, templates)) or "none"
        raise UnsupportedModelError(
            f"this model has no chat template {quote(name)}; those that it has: {names}"
        )
    tokenizer.chat_template = templates[name]


def missing_template(tokenizer: PreTrainedTokenizerBase, instead: str) -> str:
    """Why a tokenizer without a template for chats has none, and what to do: `instead` where none can be chosen."""
    names = ", ".join(map(quote, getattr(tokenizer, "chat_templates", {})))
    if names:
        return f"none of this model's chat templates is the default; choose one by --chat-template: {names}"
    return f"this model has no chat template; {instead}"


def _bpe(spec: TokenizerSpec, ignore_merges: bool) -> models.BPE:
    vocabulary = {text: index for index, text in enumerate(spec.tokens)}
    if len(vocabulary) != len(spec.tokens):
        raise ModelFormatError("the tokenizer names a token twice; get the model again")
    merges = [tuple(merge.split(" ")) for merge in spec.merges]
    if any(len(merge) != 2 for merge in merges):
        raise ModelFormatError("a merge of the tokenizer is not a pair of tokens; get the model again")
    try:
        return models.BPE(vocab=vocabulary, merges=merges, ignore_merges=ignore_merges)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelFormatError(
            f"the tokenizer's merges do not fit its tokens ({error}); get the model again"
        ) from error


def _pre_tokenizer(pre: PreTokenizer) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in pre.expressions]
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
