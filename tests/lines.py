"""Varied lines of text for tokenizers, drawn by a seed: prose, code, many scripts, emoji, numbers, runs of blanks,
line ends of every kind, control characters but NUL, and special tokens in the middle of it all."""

import random
from collections.abc import Iterator, Sequence

__all__ = ["varied_lines"]

WORDS = (
    "the of and to question answer Paris isn't I'll WE'RE they'd don'T O'Neill it's 'tis rock'n'roll naïve café "
    "co-operate e.g. U.S.A. Mr. HTTPServer snake_case camelCase kebab-case 3rd x2 </s> <s> [INST] <<SYS>> <EOT>"
).split()
CODE = (
    "def {w}({w}: int = {n}) -> None:\n    return {w}**2  # {w}\n",
    "for (int i={n};i<{n};++i) {{ {w}[i]+={w}->{w}; }}\r\n",
    '{{"{w}": [{n}, {n}.{n}, null, "{w}\\n"]}}',
    "<div class='{w}'>&nbsp;{w}</div><!-- {n} -->\n",
    "$ cat {w}.txt | grep -E '^{n}' > /tmp/{w}; echo $?\n",
    "SELECT {w}, COUNT(*) FROM {w} WHERE {w} >= {n} AND x != 'it''s';",
    "\t\tif\t{w} == 0x{n}:\n\n\n\t\t\tpass",
    "\\frac{{{w}}}{{{n}}} \\sum_{{i=1}}^{{n}} $x^{n}$ ~~ @@ ## %% ^^ || ``",
)
# First and last character of scripts and of other ranges.
RANGES = (
    "\u00c0\u024f \u0250\u02af \u0300\u036f \u0370\u03ff \u0400\u052f \u0531\u058f \u05d0\u05ea \u0600\u06ff "
    "\u0710\u074f \u0780\u07bf \u0900\u097f \u0980\u09fe \u0a01\u0a76 \u0b82\u0bfa \u0c00\u0c7f \u0d00\u0d7f "
    "\u0e01\u0e5b \u0e81\u0edf \u0f00\u0fda \u1000\u109f \u10a0\u10ff \u1100\u11ff \u1200\u137c \u13a0\u13fd "
    "\u1780\u17f9 \u1800\u18aa \u1e00\u1fff \u2010\u2027 \u2030\u205e \u2070\u209c \u20a0\u20bf \u2100\u218b "
    "\u2190\u23ff \u2460\u24ff \u2500\u27bf \u2c00\u2c5f \u3001\u303f \u3041\u3096 \u30a1\u30ff \u3105\u312f "
    "\u3131\u318e \u4e00\u9fa5 \ua000\ua48c \uac00\ud7a3 \uff01\uffee \U00010400\U0001044f \U00010900\U0001091f "
    "\U0001d400\U0001d7ff \U0001f000\U0001f02b \U0001f1e6\U0001f1ff \U0001f300\U0001f64f \U0001f680\U0001f6c5 "
    "\U0001f900\U0001f9ff \U00020000\U0002a6d6 \ue000\uf8ff"
).split(" ")
BLANKS = (
    " ",
    "  ",
    "    ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\v",
    "\f",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u2028",
)
ODD = (
    "👩\u200d👧 🏳️\u200d🌈 👍🏽 e\u0301 a\u0308\u0301 İ ſ K \u200b \ufeff \u00ad \ufffd ½ ² Ⅷ ٣٤ १२ １２ १०० 〇 ① … —"
).split(" ") + ["\u0085", "\x01", "\x1b[0m", "\x7f"]


def varied_lines(count: int, seed: int, special: Sequence[str] = ()) -> Iterator[str]:
    """``count`` lines; in about a third of them one or more of the ``special`` tokens, whole or cut off."""
    draw = random.Random(seed)
    for _ in range(count):
        parts = [_part(draw) for _ in range(draw.randint(1, 8))]
        if special and draw.random() < 0.35:
            for _ in range(draw.randint(1, 3)):
                token = draw.choice(special)
                parts.insert(draw.randint(0, len(parts)), draw.choice((token, token, token[1:], token[:-1])))
        yield "".join(parts)


def _part(draw: random.Random) -> str:
    match draw.randrange(8):
        case 0 | 1:
            return " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 6))) + draw.choice(",.;:!? \n")
        case 2:
            return draw.choice(CODE).format(w=draw.choice(WORDS), n=draw.randrange(10 ** draw.randint(1, 6)))
        case 3:
            return _script(draw)
        case 4:
            return "".join(draw.choice(BLANKS) for _ in range(draw.randint(1, 5)))
        case 5:
            return f"{draw.randrange(10 ** draw.randint(1, 12)):,}".replace(
                ",", draw.choice(("", ",", " ", "."))
            )
        case 6:
            return "".join(chr(draw.randint(33, 126)) for _ in range(draw.randint(1, 8)))
    return draw.choice(ODD) * draw.randint(1, 2)


def _script(draw: random.Random) -> str:
    """A few words in one script."""
    first, last = draw.choice(RANGES)
    words = (
        "".join(chr(draw.randint(ord(first), ord(last))) for _ in range(draw.randint(1, 6))) for _ in range(3)
    )
    return draw.choice(("", " ", "-")).join(words)
