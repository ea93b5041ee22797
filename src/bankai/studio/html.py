"""Values as HTML. Whatever stands in a file or a reply is text here, never markup."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from bankai.evaluation.report import Counts
from bankai.search.ranking import Ranked
from bankai.studio.compare import Compared, Parting, Token
from bankai.studio.maps import Panel
from bankai.studio.plots import draw_panel, draw_run
from bankai.studio.probes import Measured, Row
from bankai.studio.runs import Run
from bankai.studio.searches import Status
from bankai.tensor_names import parse_tensor_name

__all__ = [
    "compared",
    "counted",
    "header",
    "listed",
    "mapped",
    "nothing",
    "ranked",
    "refusal",
    "run",
    "status",
]

FULL = 3.0  # nats of change that color a token fully
SHOWN = 200  # rows of a table
BLANK = "␣"
RESULTS = {"heldout": "held-out probes", "unknown": "unknown failures", "control": "unseen controls"}


def refusal(message: str) -> str:
    """What cannot be done, and the remedy."""
    return f'<div class="note refusal" role="alert">{_text(message)}</div>'


def nothing(message: str) -> str:
    """What could stand here."""
    return f'<div class="note">{_text(message)}</div>'


def header(name: str, facts: Sequence[str]) -> str:
    """The head of the page."""
    told = "".join(f"<span>{_text(fact)}</span>" for fact in facts)
    return f'<header class="head"><h1>Bankai studio</h1><p><strong>{_text(name)}</strong>{told}</p></header>'


def compared(found: Compared, names: Sequence[str]) -> str:
    """Both replies side by side, where they part, and all tokens."""
    title = " + ".join(names)
    sides = [_side("Base", found.base, "base")]
    sides.append(
        _side(title, found.patched, "patched") if names else nothing("Switch a patch on to compare.")
    )
    equal = names and found.texts[0] == found.texts[1]
    same = '<p class="hint">Both say the same.</p>' if equal else ""
    legend = (
        '<p class="hint legend">A token is <span class="token up" style="--d:100%">likelier</span> or '
        '<span class="token down" style="--d:100%">less likely</span> with the patch; '
        '<span class="token new">underlined</span> where the replies differ.</p>'
    )
    rest = f"{legend}{same}{_parting(found.parting)}{_tokens(found)}" if names else _tokens(found)
    return f'<div class="sides">{"".join(sides)}</div>{rest}'


def _side(title: str, tokens: Iterable[Token], kind: str) -> str:
    text = "".join(map(_token, tokens))
    return (
        f'<section class="card reply {kind}"><h3>{_text(title)}</h3><div class="text">{text}</div></section>'
    )


def _token(token: Token) -> str:
    change = token.patched - token.base
    depth = min(1.0, abs(change) / FULL)
    kinds = " ".join(filter(None, ("token", "up" if change > 0 else "down", "new" if token.new else "")))
    title = f"base {_share(token.base)}, patched {_share(token.patched)}"
    return f'<span class="{kinds}" style="--d:{depth:.0%}" title="{title}">{_visible(token.text)}</span>'


def _parting(parting: Parting) -> str:
    after = parting.said[-80:].strip()
    after = (
        f"after <q>{'…' if after != parting.said else ''}{_visible(after)}</q>"
        if after
        else "at the beginning"
    )
    sides = "".join(
        f"<div><h4>{title}</h4>{_bars(likeliest)}</div>"
        for title, likeliest in (("Base", parting.base), ("Patched", parting.patched))
    )
    return f'<section class="card"><h3>Next token {after}</h3><div class="sides bars">{sides}</div></section>'


def _bars(likeliest: Iterable[tuple[str, float]]) -> str:
    return "".join(
        f'<div class="bar">{_code(text)}'
        f'<span><i style="width:{share:.1%}"></i></span><b>{share:.1%}</b></div>'
        for text, share in likeliest
    )


def _tokens(found: Compared) -> str:
    """Every token of both replies with its probabilities."""
    tables = "".join(
        _table(
            ("token", "base", "patched", "change, nats"),
            [
                (
                    _code(token.text),
                    _share(token.base),
                    _share(token.patched),
                    _signed(token.patched - token.base),
                )
                for token in side
            ],
            title,
        )
        for title, side in (("Base reply", found.base), ("Patched reply", found.patched))
    )
    title = "<summary>Every token and its probability</summary>"
    return f'<details class="card">{title}<div class="sides">{tables}</div></details>'


def counted(found: Measured) -> str:
    """Counts with intervals and p-value, in all and by category."""
    rows = [*sorted(found.comparison.categories.items()), ("all", found.comparison)]
    return f'<section class="card">{_counts(dict(rows))}</section>'


def _counts(rows: Mapping[str, Counts]) -> str:
    cells = [
        (
            _text(name),
            f'{one.base.solved} → {one.patched.solved}<span class="faint">of {one.probes}</span>',
            _of(one.fixed, one.probes - one.base.solved, one.fixed_interval),
            _of(one.broke, one.base.solved, one.broke_interval),
            f"{one.p_value:.2g}",
        )
        for name, one in rows.items()
    ]
    return _table(("", "solved", "fixed", "broke", "p"), cells)


def _of(part: int, whole: int, interval: tuple[float, float]) -> str:
    low, high = interval
    range_ = f' <span class="faint">{100 * low:.0f} to {high:.0%}</span>' if whole else ""
    return f"{part} of {whole}{range_}"


def listed(rows: Sequence[Row]) -> str:
    """Probes with their margins; the first ones of many."""
    if not rows:
        return nothing("No probe fits.")
    cells = [
        (
            f'<span class="chip {row.outcome.replace(" ", "-")}">{row.outcome}</span>',
            f'<span class="asked">{_visible(row.asked[-240:])}</span>',
            _code(row.answer),
            _text(row.category),
            _signed(row.base),
            _signed(row.patched),
        )
        for row in rows[:SHOWN]
    ]
    table = _table(("", "prompt", "answer", "category", "base margin", "patched"), cells, words=4)
    more = (
        f'<p class="hint">The first {SHOWN} of {len(rows)}; filter for the others.</p>'
        if len(rows) > SHOWN
        else ""
    )
    return f'<section class="card">{table}</section>{more}'


def mapped(panels: Sequence[Panel]) -> str:
    """One map for each projection."""
    if not panels:
        return nothing("No flips: switch a patch on, or rank rows by attribution.")
    most = max((float(panel.values.max()) for panel in panels if panel.values is not None), default=0.0)
    figures = "".join(
        f'<figure class="card"><figcaption>{_text(panel.projection)}'
        f"<span>{_flips(len(panel.flips))}</span></figcaption>{draw_panel(panel, most)}</figure>"
        for panel in panels
    )
    heat = f" Heat: estimated change of the fitness by flipping a row, up to {most:+.3g}." if most > 0 else ""
    hint = f'<p class="hint"><span class="mark"></span> flipped by the patch.{heat}</p>'
    return f'{hint}<div class="maps">{figures}</div>{_by_layer(panels)}'


def _by_layer(panels: Sequence[Panel]) -> str:
    flipped = [panel for panel in panels if panel.flips]
    if not flipped:
        return ""
    layers = sorted({layer for panel in flipped for layer, _ in panel.flips})
    rows = [(str(layer), *(str(panel.by_layer[layer] or "") for panel in flipped)) for layer in layers]
    table = _table(("layer", *(_text(panel.projection) for panel in flipped)), rows)
    return f'<details class="card"><summary>Flips by layer</summary>{table}</details>'


def ranked(top: Sequence[Ranked], panels: Sequence[Panel]) -> str:
    """The rows that promise most."""
    flips = {(panel.projection, *place) for panel in panels for place in panel.flips}
    cells = []
    for one in top:
        name = parse_tensor_name(one.flip.tensor)
        flipped = (name.projection, name.layer, one.flip.row) in flips
        values = (_signed(value, 3) for value in (one.value, one.gain, -one.loss))
        mark = "yes" if flipped else ""
        place = (str(name.layer), _text(name.projection), str(one.flip.row))
        cells.append((*place, *values, f"{one.consistency:.0%}", mark))
    columns = ("layer", "projection", "row", "value", "gain", "harm", "targets helped", "in the patch")
    return f'<section class="card"><h3>Most promising rows</h3>{_table(columns, cells)}</section>'


def status(found: Status | None) -> str:
    """The last search that was started here."""
    if found is None:
        return ""
    news = found.news
    if news.error:
        return refusal(f"{found.name}: {news.error}")
    bar = ""
    if news.total:
        bar = f'<progress max="{news.total}" value="{news.done}"></progress> {news.done} of {news.total}'
    warnings = "".join(f"<li>{_text(one)}</li>" for one in found.warnings)
    warned = (
        f"<details><summary>Warnings: {len(found.warnings)}</summary><ul>{warnings}</ul></details>"
        if warnings
        else ""
    )
    kind = "running" if found.running else ""
    return f'<div class="note {kind}"><strong>{_text(found.name)}</strong>: {_text(news.what)} {bar}{warned}</div>'


def run(found: Run) -> str:
    """How a search goes or went, and what its patch does to probes that it did not read."""
    last, chips = found.last, []
    chips.append(("flips", str(last.flips)))
    chips.append(("fitness", f"{last.fitness:+.3f}"))
    chips.append(
        ("evaluations", f"{last.evaluations:.0f}" + (f" of {found.budget:g}" if found.budget else ""))
    )
    if last.solved is not None:
        chips.append(("validation", f"{last.solved} of {found.validation}"))
    chips.append(("read", f"{found.targets} targets, {found.controls} controls"))
    facts = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in chips)
    state = f"ended: {_text(found.reason)}" if found.reason else "under way, or interrupted"
    results = ""
    if found.results:
        named = {RESULTS[name]: counts for name, counts in found.results.items()}
        results = f"<h3>What the search did not read</h3>{_counts(named)}"
    return (
        f'<section class="card run"><h3>{_text(found.name)} <span class="faint">{state}</span></h3>'
        f'<dl class="facts">{facts}</dl><div class="chart">{draw_run(found)}</div>{results}</section>'
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", words: int = 1) -> str:
    """Cells are markup; the first `words` columns stand to the left."""
    head = "".join(_cell("th", column, at < words) for at, column in enumerate(columns))
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, at < words) for at, cell in enumerate(row))}</tr>" for row in rows
    )
    title = f"<caption>{_text(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(tag: str, markup: str, word: bool) -> str:
    return f"<{tag}{' class=text' if word else ''}>{markup}</{tag}>"


def _flips(count: int) -> str:
    return f"{count} flip{'' if count == 1 else 's'}"


def _share(log_probability: float) -> str:
    """A probability in percent."""
    share = math.exp(log_probability)
    return f"{share:.1%}" if share >= 0.001 else f"{share:.0e}"


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}"


def _code(text: str) -> str:
    """A piece of text alone, with marks for blanks where nothing else is to be seen."""
    return f"<code>{_visible(text if text.strip(' ') else BLANK * len(text))}</code>"


def _visible(text: str) -> str:
    """As text, with marks for line ends; blanks stay."""
    return _text(text).replace("\n", '<span class="end">↵</span>\n')


def _text(text: object) -> str:
    """As text, whatever it holds; what a template of the page could read is taken apart."""
    shown = "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in str(text))
    return escape(shown).replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")
