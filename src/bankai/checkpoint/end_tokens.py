"""Which tokens end a text: those that a model declares, and those that llama.cpp knows by their text.

The rule is that of ``special_eog_ids`` in llama.cpp's ``src/llama-vocab.cpp``. It reads texts, not token types. Where
a vocabulary has two texts for one place in fill-in-the-middle, llama.cpp takes one by chance; here both count. Its
token 11, which ends texts of models that declare no end, is Falcon's and is not taken.
"""

from collections.abc import Iterable, Sequence

__all__ = ["find_ends"]

_ENDS = frozenset(
    (
        "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> "
        "<|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
        "<｜end▁of▁sentence｜> [e~[ "
        # padding, repository and file of fill-in-the-middle
        "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame> "
        "<|file_sep|>"
    ).split()
)


def find_ends(tokens: Sequence[str], declared: Iterable[int]) -> frozenset[int]:
    """Ids of the ``tokens`` that end a text; ``declared`` are ids that the model's files name.

    Two texts count only where no other end shows that they mean something else: ``<|end|>`` ends a message beside
    the ends of gpt-oss and Solar, ``</s>`` is plain beside those of Gemma and PLaMo.
    """
    found = {tokens[i]: i for i in declared} | {text: i for i, text in enumerate(tokens) if text in _ENDS}
    calls = not found.keys().isdisjoint(("<|call|>", "<|calls|>"))
    if calls and not found.keys().isdisjoint(("<|return|>", "<|flush|>")):
        found.pop("<|end|>", None)
    if not found.keys().isdisjoint(("<|tool_response>", "<|plamo:eos|>")):
        found.pop("</s>", None)
    return frozenset(found.values())
