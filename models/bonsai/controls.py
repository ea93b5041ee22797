"""What a patch must leave alone: facts, language and code, as tables that were written by hand.

A line of a table is `key = answer`, alternates after `|`. Values of Python expressions are computed. What a phrasing
shows as an example is never an item.
"""

from asking import Answer, Item, Phrasing, chat, plain

__all__ = ["CATEGORIES", "PHRASINGS"]

CAPITALS = """
France = Paris; Germany = Berlin; Italy = Rome; Spain = Madrid; Portugal = Lisbon; Austria = Vienna; Greece = Athens
Norway = Oslo; Sweden = Stockholm; Denmark = Copenhagen; Finland = Helsinki; Iceland = Reykjavik; Ireland = Dublin
Poland = Warsaw; Hungary = Budapest; Romania = Bucharest; Bulgaria = Sofia; Ukraine = Kyiv | Kiev; Russia = Moscow
Turkey = Ankara; Iran = Tehran; Iraq = Baghdad; India = New Delhi | Delhi; China = Beijing; South Korea = Seoul
Thailand = Bangkok; Vietnam = Hanoi; Indonesia = Jakarta; Philippines = Manila; Australia = Canberra; Canada = Ottawa
New Zealand = Wellington; Mexico = Mexico City; Cuba = Havana; Peru = Lima; Chile = Santiago; Kenya = Nairobi
Argentina = Buenos Aires; Brazil = Brasília | Brasilia; Colombia = Bogotá | Bogota; Morocco = Rabat; Ghana = Accra
Belgium = Brussels; Netherlands = Amsterdam
"""

SYMBOLS = """
gold = Au; silver = Ag; iron = Fe; copper = Cu; lead = Pb; tin = Sn; sodium = Na; potassium = K; mercury = Hg
oxygen = O; nitrogen = N; carbon = C; calcium = Ca; zinc = Zn; neon = Ne; chlorine = Cl; silicon = Si; aluminum = Al
magnesium = Mg; uranium = U; nickel = Ni; sulfur = S; argon = Ar; iodine = I
"""

FACTS = """
What is the chemical formula of water? = H2O | H₂O
What is the chemical formula of carbon dioxide? = CO2 | CO₂
What is the chemical formula of table salt? = NaCl
What color is the sky on a clear day? = Blue | blue
What color is a ripe banana? = Yellow | yellow
What color do you get by mixing blue and yellow paint? = Green | green
What color is fresh snow? = White | white
Who developed the theory of general relativity? = Albert Einstein | Einstein
Who wrote Romeo and Juliet? = William Shakespeare | Shakespeare
Who wrote Pride and Prejudice? = Jane Austen | Austen
Who wrote the novel 1984? = George Orwell | Orwell
Who wrote Don Quixote? = Miguel de Cervantes | Cervantes
Who painted the Mona Lisa? = Leonardo da Vinci
Who painted The Starry Night? = Vincent van Gogh | Van Gogh
Who was the first president of the United States? = George Washington | Washington
Who was the first person to walk on the Moon? = Neil Armstrong | Armstrong
Who proposed evolution by natural selection? = Charles Darwin | Darwin
Who formulated the laws of motion? = Isaac Newton | Newton | Sir Isaac Newton
Which planet is the largest in the solar system? = Jupiter
Which planet is closest to the Sun? = Mercury
Which planet is known as the Red Planet? = Mars
Which planet is famous for its bright rings? = Saturn
Which star is at the center of the solar system? = The Sun | Sun
What is the largest ocean on Earth? = The Pacific Ocean | Pacific Ocean | Pacific
What is the highest mountain on Earth? = Mount Everest | Everest
What is the largest mammal? = The blue whale | Blue whale
What is the tallest living animal? = The giraffe | Giraffe
What is the fastest land animal? = The cheetah | Cheetah
How many days are there in a week? = 7 | Seven
How many months are there in a year? = 12 | Twelve
How many minutes are there in an hour? = 60 | Sixty
How many hours are there in a day? = 24
How many legs does a spider have? = 8 | Eight
How many legs does an insect have? = 6 | Six
How many continents are there? = 7 | Seven
How many sides does a hexagon have? = 6 | Six
How many sides does a triangle have? = 3 | Three
How many letters are in the English alphabet? = 26
How many strings does a violin have? = 4 | Four
How many players does a soccer team have on the field? = 11 | Eleven
At how many degrees Celsius does water boil at sea level? = 100
At how many degrees Celsius does water freeze? = 0
In which year did World War II end? = 1945
In which year did the Titanic sink? = 1912
On which continent is Egypt? = Africa
On which continent is Brazil? = South America
Which gas do plants take in for photosynthesis? = Carbon dioxide | CO2
Which gas do humans need to breathe? = Oxygen | oxygen
Which organ pumps blood through the body? = The heart | Heart
Which language is spoken in Brazil? = Portuguese
Which language is spoken in Austria? = German
Which currency is used in Japan? = Yen | The yen | Japanese yen
Which metal is liquid at room temperature? = Mercury
What do bees make? = Honey | honey
What is frozen water called? = Ice | ice
What is the square root of 81? = 9
What is the first element of the periodic table? = Hydrogen
What is the hardest natural substance? = Diamond
"""

OPPOSITES = """
cold = hot; small = big | large; slow = fast | quick; dark = light | bright; wet = dry; empty = full; young = old
weak = strong; short = tall | long; early = late; cheap = expensive; soft = hard; thin = thick | fat; poor = rich
open = closed | close; left = right; up = down; false = true; inside = outside; before = after; win = lose
buy = sell; push = pull; above = below; north = south; love = hate
"""

PLURALS = """
child = children; mouse = mice; foot = feet; tooth = teeth; man = men; woman = women; goose = geese; person = people
leaf = leaves; knife = knives; wolf = wolves; city = cities; baby = babies; box = boxes; bus = buses; church = churches
tomato = tomatoes; sheep = sheep; ox = oxen; half = halves; dish = dishes; lady = ladies; wife = wives; story = stories
"""

FRENCH = """
house = maison; bread = pain; water = eau; book = livre; night = nuit; red = rouge; school = école; friend = ami | amie
"""

SPANISH = """
house = casa; bread = pan; water = agua; book = libro; night = noche; red = rojo; school = escuela; friend = amigo
"""

GERMAN = """
house = Haus; bread = Brot; water = Wasser; book = Buch; night = Nacht; red = rot; school = Schule; friend = Freund
"""

PAST_TENSES = """
go = went; see = saw; eat = ate; write = wrote; take = took; come = came; give = gave; run = ran; buy = bought
think = thought; teach = taught; swim = swam; speak = spoke; break = broke; drive = drove; fly = flew; know = knew
"""

EXPRESSIONS = r"""
len("hello")
"abc".upper()
"Hello".lower()
"a,b,c".split(",")
[1, 2, 3][-1]
[1, 2, 3][1:]
sum([1, 2, 3, 4])
max(3, 9, 4)
min([5, 2, 8])
sorted([3, 1, 2])
list(range(4))
2 ** 8
17 % 5
17 // 5
10 / 4
bool([])
bool("x")
not True
3 == 3.0
type(3.5).__name__
"py" + "thon"
"ab" * 3
"hello"[1]
"hello"[::-1]
"e" in "hello"
abs(-7)
round(3.7)
int("42") + 1
str(99)
list("cat")
{"a": 1}["a"]
len({1, 2, 2, 3})
"-".join(["a", "b"])
(1, 2) + (3,)
all([True, False])
any([False, True])
"hello".replace("l", "L")
" padded ".strip()
[x * 2 for x in [1, 2, 3]]
list(zip([1, 2], "ab"))
"""

COMPLETIONS: list[tuple[str, str]] = [
    ("import numpy as", "np"),
    ("import pandas as", "pd"),
    ("import matplotlib.pyplot as", "plt"),
    ("import tensorflow as", "tf"),
    ("def add(a, b):\n    return", "a + b"),
    ("def subtract(a, b):\n    return", "a - b"),
    ("def multiply(a, b):\n    return", "a * b"),
    ("def divide(a, b):\n    return", "a / b"),
    ("def square(x):\n    return", "x * x | x ** 2 | x**2"),
    ("def cube(x):\n    return", "x ** 3 | x**3 | x * x * x"),
    ("def double(x):\n    return", "x * 2 | 2 * x"),
    ("def negate(x):\n    return", "-x"),
    ("def identity(x):\n    return", "x"),
    ("def is_even(n):\n    return", "n % 2 == 0"),
    ("def is_odd(n):\n    return", "n % 2 == 1 | n % 2 != 0"),
    ("def is_positive(n):\n    return", "n > 0"),
    ("def reverse_string(text):\n    return", "text[::-1]"),
    ("def first_item(items):\n    return", "items[0]"),
    ("def last_item(items):\n    return", "items[-1]"),
    ("def count_items(items):\n    return", "len(items)"),
    ("def to_upper(text):\n    return", "text.upper()"),
    ("def to_integer(text):\n    return", "int(text)"),
    ("def largest(numbers):\n    return", "max(numbers)"),
    ("def smallest(numbers):\n    return", "min(numbers)"),
    ("def total(numbers):\n    return", "sum(numbers)"),
    ("def average(numbers):\n    return", "sum(numbers) / len(numbers)"),
    ("def rectangle_area(width, height):\n    return", "width * height"),
    ("def is_empty(items):\n    return", "len(items) == 0 | not items"),
    (
        "def factorial(n):\n    if n == 0:\n        return 1\n    return",
        "n * factorial(n - 1) | n * factorial(n-1)",
    ),
    (
        "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
        "fibonacci(n - 1) + fibonacci(n - 2) | fibonacci(n-1) + fibonacci(n-2)",
    ),
    (
        "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        self.y =",
        "y",
    ),
    ("class Stack:\n    def __init__(self):\n        self.items =", "[]"),
    ("count = 0\nfor item in items:\n    count +=", "1"),
    ("total = 0\nfor price in prices:\n    total +=", "price"),
    ("# swap a and b\na, b =", "b, a"),
    ("squares = []\nfor n in numbers:\n    squares.append(n *", "n)"),
    ("for key, value in data.items():\n    print(key,", "value)"),
    ("while low <= high:\n    middle = (low + high) //", "2"),
    ('def greet(name):\n    print("Hello, " +', 'name) | name + "!")'),
    ('with open("a.txt") as f:\n    text =', "f.read()"),
]

PHRASINGS: dict[str, list[Phrasing]] = {
    "capital": [
        plain("Question: What is the capital of {key}?\nAnswer:"),
        chat("What is the capital of {key}? Reply with the name only.", "Answer:"),
        plain("Japan: Tokyo\nEgypt: Cairo\n{key}:"),
    ],
    "symbol": [
        plain("Question: What is the chemical symbol for {key}?\nAnswer:"),
        chat("What is the chemical symbol of {key}? Reply with the symbol only.", "Symbol:"),
        plain("hydrogen: H\nhelium: He\n{key}:"),
    ],
    "fact": [
        plain("Question: {key}\nAnswer:"),
        chat("{key} Answer as briefly as possible.", "Answer:"),
    ],
    "opposite": [
        plain("good -> bad\nhappy -> sad\n{key} ->"),
        chat("What is the opposite of \"{key}\"? Reply with one word, in lower case.", "Answer:"),
    ],
    "plural": [
        plain("one cat, two cats\none dog, two dogs\none {key}, two"),
        chat("What is the plural of \"{key}\"? Reply with one word, in lower case.", "Plural:"),
    ],
    "french": [plain("English: cat\nFrench: chat\nEnglish: {key}\nFrench:")],
    "spanish": [plain("English: cat\nSpanish: gato\nEnglish: {key}\nSpanish:")],
    "german": [plain("English: dog\nGerman: Hund\nEnglish: {key}\nGerman:")],
    "past-tense": [
        plain("make -> made\nsing -> sang\n{key} ->"),
        chat("What is the simple past of \"{key}\"? Reply with one word, in lower case.", "Answer:"),
    ],
    "python-value": [plain(">>> 1 + 1\n2\n>>> {key}\n", space="")],
    "python-line": [plain("{key}")],
}  # fmt: skip


def _item(category: str, kind: str, key: str, asked: str, answers: str) -> Item:
    return Item(category, kind, key, {"key": asked}, {"plain": Answer(tuple(answers.split(" | ")))})


def _items(category: str, kind: str, rows: list[tuple[str, str]]) -> list[Item]:
    return [_item(category, kind, key, key, answers) for key, answers in rows]


def _lines(rows: list[tuple[str, str]]) -> list[Item]:
    """Code is too long to name an item; its place in the list does."""
    return [
        _item("code", "python-line", f"{number:02}", code, rest) for number, (code, rest) in enumerate(rows)
    ]


def _rows(table: str) -> list[tuple[str, str]]:
    entries = [entry for line in table.strip().splitlines() for entry in line.split("; ")]
    return [(key, answer) for key, _, answer in (entry.partition(" = ") for entry in entries)]


def _values(lines: str) -> list[tuple[str, str]]:
    return [(line, repr(eval(line))) for line in lines.strip().splitlines()]


CATEGORIES: dict[str, list[Item]] = {
    "knowledge": [
        *_items("knowledge", "capital", _rows(CAPITALS)),
        *_items("knowledge", "symbol", _rows(SYMBOLS)),
        *_items("knowledge", "fact", _rows(FACTS)),
    ],
    "language": [
        *_items("language", "opposite", _rows(OPPOSITES)),
        *_items("language", "plural", _rows(PLURALS)),
        *_items("language", "french", _rows(FRENCH)),
        *_items("language", "spanish", _rows(SPANISH)),
        *_items("language", "german", _rows(GERMAN)),
        *_items("language", "past-tense", _rows(PAST_TENSES)),
    ],
    "code": [
        *_items("code", "python-value", _values(EXPRESSIONS)),
        *_lines(COMPLETIONS),
    ],
}
