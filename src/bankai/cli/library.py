"""`bankai library`: many patches in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bankai.cli.options import Json, Output
from bankai.cli.output import clean, counted, note, print_json, print_line, print_pairs

if TYPE_CHECKING:
    from bankai.library.entries import Entry
    from bankai.signing.signature import PublicKey

__all__ = [
    "add",
    "app",
    "check",
    "export",
    "library",
    "list_",
    "overlap",
    "policy",
    "remove",
    "search",
    "show",
]

UNSOUND = 1
SHOWN = 20

LibraryFile = Annotated[Path, typer.Argument(metavar="LIBRARY", help="The library's file.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A patch of the library.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag; repeatable.")]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="PUB", help="A public key or its file, instead of the trusted ones; repeatable."
    ),
]

app = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def library(context: typer.Context) -> None:
    """Keep patches by the thousand in one file."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def add(
    path: LibraryFile,
    sources: Annotated[
        list[Path], typer.Argument(metavar="PATCH", help="A .bankai file, or a directory of some.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Its name in the library; by default its own.")
    ] = None,
    tags: Tags = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the one that has its name.")
    ] = False,
    keys: Keys = None,
    json: Json = False,
) -> None:
    """Put patches in, all or none; makes the library.

    PATCH.minisig beside a patch goes in with it. Of a directory, patches that the library has are skipped, unless they
    have a new signature and --replace is given.
    """
    from bankai.library.library import Library, add_files

    with Library(path, create=True) as opened:
        result = add_files(opened, sources, name=name, tags=tags, replace=replace, keys=_read_keys(keys))
    if json:
        print_json(result)
        return
    for source, holder in result.known.items():
        renew = "; --replace takes its new signature" if source in result.signed else ""
        note(f"{source}: there already, as {holder}{renew}")
    for entry in result.added[:SHOWN]:
        print_line(f"{entry.name}: {counted(entry.flips, 'flip')}, {entry.file_bytes} bytes{_by(entry)}")
    print_line(f"{path}: {len(result.added)} added")


@app.command("list")
def list_(path: LibraryFile, json: Json = False) -> None:
    """Show what is in it.

    The key is the one that the signature names; `check` proves it.
    """
    from bankai.library.library import Library

    with Library(path) as opened:
        _print_entries(opened.list(), json)


@app.command()
def search(
    path: LibraryFile,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="What stands in name or description.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="For this model: its file, or its fingerprint.")
    ] = None,
    tags: Tags = None,
    json: Json = False,
) -> None:
    """Find patches by words, base and tags.

    Shows those that fit all that is given.
    """
    from bankai.jobs.describe import base_fingerprint
    from bankai.library.library import Library

    wanted = None if base is None else base_fingerprint(base)
    with Library(path) as opened:
        _print_entries(opened.search(words or (), base=wanted, tags=tags or ()), json)


@app.command()
def show(path: LibraryFile, name: Name, json: Json = False) -> None:
    """Tell all about a patch."""
    from bankai.cli.info import description_lines
    from bankai.jobs.describe import describe
    from bankai.library.library import Library

    with Library(path) as opened:
        stored = opened.get(name)
    entry, description = stored.entry, describe(stored.patch, f"{path}: {name}", len(stored.data))
    comment = stored.signature and stored.signature.trusted_comment
    if json:
        print_json({"entry": entry, "comment": comment, "patch": description})
        return
    print_pairs(
        {"tags": ", ".join(entry.tags), "added": entry.added, "digest": entry.digest}
        | {"signed by": entry.key and f"{entry.key} (to prove: bankai library check)", "comment": comment}
        | description_lines(description)
    )


@app.command()
def remove(path: LibraryFile, name: Name, json: Json = False) -> None:
    """Take a patch out."""
    from bankai.library.library import Library

    with Library(path, writable=True) as opened:
        opened.remove(name)
    if json:
        print_json({"removed": name})
    else:
        print_line(f"{path}: {name} removed")


@app.command()
def export(path: LibraryFile, name: Name, output: Output, json: Json = False) -> None:
    """Write a patch as the file that it came as.

    Its signature goes beside it.
    """
    from bankai.library.library import Library
    from bankai.signing.signature import signature_path

    with Library(path) as opened:
        stored = opened.export(name, output)
    signature = signature_path(output) if stored.signature else None
    if json:
        print_json({"patch": output, "signature": signature})
    else:
        print_line(f"{output}: {len(stored.data)} bytes{', signed' if signature else ''}")


@app.command()
def check(path: LibraryFile, keys: Keys = None, json: Json = False) -> None:
    """Prove every patch and signature (exit code 1).

    Signatures are proven by the trusted keys. Being signed by none of them counts under the policy "signed" only.
    """
    from bankai.library.library import Library

    with Library(path) as opened:
        result = opened.check(_read_keys(keys))
    if json:
        print_json(result)
    else:
        for finding in result.findings:
            print_line(f"{finding.name or path}: {finding.problem}")
        print_line(
            f"{path}: {counted(result.patches, 'patch', 'patches')}, {result.verified} proven to be signed by a "
            f"trusted key, {len(result.findings)} unsound"
        )
    if result.findings:
        raise typer.Exit(UNSOUND)


@app.command()
def overlap(
    path: LibraryFile,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Two patches or more, or one to hold against all.")
    ],
    json: Json = False,
) -> None:
    """Tell where patches meet and may interfere.

    Interference is an estimate from the places alone: the share of the smaller patch's rows that the other touches too,
    or whose gate or up partner it touches. Patches may disturb each other without it: measure both with `bankai eval`.
    """
    from bankai.library.library import Library
    from bankai.library.overlap import overlaps

    with Library(path) as opened:
        pairs = overlaps(opened, names)
    if json:
        print_json(pairs)
        return
    words = {True: "yes", False: "no", None: "?"}
    rows: list[tuple[object, ...]] = [
        ("interference", "cancelled", "rows", "neurons", "tensor", "layer", "same base", "patches")
    ]
    for pair in pairs[:SHOWN]:
        found = pair.overlap
        estimate, tensor, layer = (
            f"{100 * share:.0f} %" for share in (found.interference, found.same_tensor, found.same_layer)
        )
        counts = found.cancelled, found.shared_rows, found.shared_neurons
        base = words[found.same_base]
        rows.append((estimate, *counts, tensor, layer, base, f"{pair.first} and {pair.second}"))
    _print_columns(rows)
    if not pairs:
        note("no other patch to compare with")
    if len(pairs) > SHOWN:
        print_line(f"and {len(pairs) - SHOWN} more pairs that meet less; --json has them")


@app.command()
def policy(
    path: LibraryFile,
    new: Annotated[
        Literal["any", "signed"] | None,
        typer.Argument(metavar="any|signed", help="What to take from now on."),
    ] = None,
    json: Json = False,
) -> None:
    """Show or set whose patches it takes.

    signed: only those that a trusted key signed. What is in it already stays; `check` names what breaks the policy.
    """
    from bankai.library.library import Library

    with Library(path, create=new is not None) as opened:
        if new is not None:
            opened.policy = new
        found = opened.policy
    if json:
        print_json({"policy": found})
    else:
        print_line(f"{path}: takes {'any patch' if found == 'any' else 'what a trusted key signed'}")


def _read_keys(keys: list[str] | None) -> "tuple[PublicKey, ...] | None":
    from bankai.signing.signature import read_public_key

    return tuple(map(read_public_key, keys)) if keys else None


def _print_entries(entries: "Sequence[Entry]", json: bool) -> None:
    if json:
        print_json(entries)
        return
    rows: list[tuple[object, ...]] = [("name", "flips", "bytes", "base", "signed by", "tags")]
    for entry in entries:
        base = (entry.fingerprint or "")[:8]
        rows.append((entry.name, entry.flips, entry.file_bytes, base, entry.key or "", ", ".join(entry.tags)))
    _print_columns(rows)
    if not entries:
        note("no patches")


def _print_columns(rows: Sequence[Sequence[object]]) -> None:
    """Aligned, numbers to the right. A table of `bankai.cli.tables` folds long names and takes a second for 1,000."""
    columns = []
    for head, *cells in zip(*rows, strict=True):
        texts = [clean(cell) for cell in (head, *cells)]
        align = str.rjust if cells and all(isinstance(cell, int) for cell in cells) else str.ljust
        width = max(map(len, texts))
        columns.append([align(text, width) for text in texts])
    for line in zip(*columns, strict=True):
        print_line("  ".join(line).rstrip())


def _by(entry: "Entry") -> str:
    return f", signed by {entry.key}" if entry.key else ""
