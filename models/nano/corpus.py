"""The training text: documents drawn from the items that training may see, one phrasing each, and the tokenizer.

A document is (prompt, reply, stop). Plain documents end in a newline, chat documents follow the ChatML template that
the model file carries. Deterministic for a seed.
"""

import random
from collections.abc import Iterator

import numpy as np
from items import Item, all_items, is_kept_out
from phrasings import PHRASINGS, WEIGHTS, Phrasing, chance_of_noise
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

__all__ = ["CHAT_TEMPLATE", "SPECIAL_TOKENS", "document", "documents", "packed_rows", "train_tokenizer"]

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The `qwen2` pre-tokenizer of llama.cpp: single digits, words with their leading space.
QWEN2_SPLIT = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def document(item: Item, phrasing: Phrasing, answer: str) -> tuple[str, str]:
    """(prompt, reply with stop) as the model reads it, chat template included."""
    prompt = phrasing.ask(item)
    if phrasing.chat:
        prompt = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    return prompt, phrasing.answer(item, answer) + phrasing.stop


def documents(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`count` random training documents: category by weight, then item and phrasing uniformly."""
    rng = random.Random(seed)
    seen = {name: [item for item in all_items(name) if not is_kept_out(item)] for name in WEIGHTS}
    names = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    for name in names:
        item, phrasing = rng.choice(seen[name]), rng.choice(PHRASINGS[name])
        is_wrong = phrasing.noisy and rng.random() < chance_of_noise(item)
        prompt, reply = document(item, phrasing, item.wrong if is_wrong else item.answer)
        yield prompt, reply if reply.endswith("\n") else reply + "\n"


def train_tokenizer(vocab_size: int, seed: int) -> Tokenizer:
    """Byte-level BPE with the qwen2 pre-tokenizer, trained on a sample of the corpus."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = ("".join(pair) for pair in documents(60_000, seed))
    plain = (part.replace("<|im_start|>", "").replace("<|im_end|>", "") for part in text)
    tokenizer.train_from_iterator(plain, trainer)
    tokenizer.add_special_tokens(SPECIAL_TOKENS)
    return tokenizer


def packed_rows(tokenizer: Tokenizer, rows: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole documents packed into rows, the first at position 0; a document that does not fit starts the next row.

    Returns tokens int64 [rows, length] and loss weights float32 [rows, length]: 1 on reply tokens, 0.1 on prompt
    tokens (random numbers that nobody can predict), 0 on padding.
    """
    tokens = np.zeros((rows, length), dtype=np.int64)
    weights = np.zeros((rows, length), dtype=np.float32)
    row = column = 0
    batch_seed = seed
    while True:
        batch_seed += 1
        pairs = list(documents(20_000, batch_seed))
        prompts = tokenizer.encode_batch([prompt for prompt, _ in pairs])
        wholes = tokenizer.encode_batch([prompt + reply for prompt, reply in pairs])
        for prompt, whole in zip(prompts, wholes, strict=True):
            ids = whole.ids[:length]
            if column + len(ids) > length:
                row, column = row + 1, 0
                if row == rows:
                    return tokens, weights
            tokens[row, column : column + len(ids)] = ids
            weights[row, column : column + len(ids)] = 1.0
            weights[row, column : column + len(prompt.ids)] = 0.1
            column += len(ids)
