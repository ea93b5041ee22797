"""`bankai keygen`, `sign`, `verify` and `trust`: who made a patch."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bankai.cli.options import Json, PatchFile
from bankai.cli.output import clean, note, print_json, print_line, print_pairs
from bankai.errors import SignatureError, TamperedError, UnsignedError

__all__ = ["keygen", "sign", "trust", "verify"]

NOT_PROVEN = 1
PASSWORD = "BANKAI_PASSWORD"

PublicKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="PUB", help="A public key or its file, instead of the trusted ones; repeatable."
    ),
]


def keygen(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="NAME", help="Writes NAME.key and NAME.pub.")
    ] = Path("bankai"),
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Leave the secret key without a password.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a key pair for signing patches.

    The files are minisign's. The secret one is under a password, asked for or taken from the environment variable
    BANKAI_PASSWORD. Existing keys are never replaced.
    """
    from bankai.signing.signature import check_no_keys, create_keys, key_text

    check_no_keys(output)  # before asking
    secret, public, key = create_keys(output, None if no_password else _new_password())
    if json:
        print_json(
            {
                "id": key_text(key.key_id),
                "public_key": key.line,
                "secret_file": secret,
                "public_file": public,
                "encrypted": not no_password,
            }
        )
    else:
        print_pairs({str(secret): "the secret key: keep it", str(public): f"the public key: {key.line}"})


def sign(
    patch: PatchFile,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The secret key file.")],
    comment: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A line to sign with it; by default the time and the file's name."),
    ] = None,
    json: Json = False,
) -> None:
    """Sign a patch file.

    Writes PATCH.minisig beside it, over an earlier signature. `minisign -Vm PATCH -p PUB` verifies it too.
    The key's password is asked for, or taken from the environment variable BANKAI_PASSWORD.
    """
    from bankai.patch import read_patch
    from bankai.patch.files import read_patch_bytes
    from bankai.signing.signature import key_text, read_secret_key, write_signature
    from bankai.signing.signature import sign as sign_bytes

    read_patch(patch)  # nobody should put a name to what is no patch
    secret = read_secret_key(key, _password)
    if comment is None:
        comment = f"timestamp:{int(time.time())}\tfile:{clean(patch.name)}\thashed"
    signature = sign_bytes(read_patch_bytes(patch), secret, comment)
    place = write_signature(signature, patch)
    if json:
        print_json({"patch": patch, "signature": place, "key": key_text(secret.key_id), "comment": comment})
    else:
        print_line(f"{place}: by key {key_text(secret.key_id)}")


def verify(patch: PatchFile, keys: PublicKeys = None, json: Json = False) -> None:
    """Tell whether a trusted key signed a patch file.

    Reads PATCH.minisig and the keys that `bankai trust` has added. Exit code 1 when the file is unsigned, signed by
    another key, or changed.
    """
    from bankai.patch.files import read_patch_bytes
    from bankai.signing.signature import key_text, read_public_key, read_signature, trusted_keys
    from bankai.signing.signature import verify as verify_bytes

    trusted = [read_public_key(key) for key in keys] if keys else trusted_keys()
    data = read_patch_bytes(patch)
    try:
        signature = read_signature(patch)
        key = verify_bytes(data, signature, trusted)
    except SignatureError as error:
        _tell_not_proven(patch, error, json)
    comment = signature.trusted_comment
    if json:
        print_json({"patch": patch, "state": "signed", "key": key_text(key.key_id), "comment": comment})
    else:
        print_line(f"{patch}: signed by key {key_text(key.key_id)}")
        print_line(f"  comment: {comment}")


def trust(
    key: Annotated[str | None, typer.Argument(metavar="PUB", help="A public key or its file.")] = None,
    show: Annotated[bool, typer.Option("--list", help="Show the trusted keys.")] = False,
    json: Json = False,
) -> None:
    """Trust what a key signs.

    Adds it to the file of trusted keys, one a line, in the folder of your settings: edit that to remove one.
    """
    if (key is None) != show:
        raise typer.BadParameter("Missing: give either a public key or --list", param_hint="'PUB'")
    if key is None:
        _list_trusted(json)
    else:
        _add_trusted(key, json)


def _list_trusted(json: bool) -> None:
    from bankai.signing.signature import key_text, trusted_keys, trusted_keys_path

    keys = trusted_keys()
    if json:
        _print_trusted(added=False)
    else:
        print_pairs({key_text(key.key_id): key.line for key in keys})
        print_line(f"{trusted_keys_path()}: {len(keys)} key{'s' * (len(keys) != 1)}")


def _add_trusted(source: str, json: bool) -> None:
    from bankai.signing.signature import key_text, read_public_key, trusted_keys_path
    from bankai.signing.signature import trust as add

    key = read_public_key(source)
    new = add(key)
    if json:
        _print_trusted(added=new)
    else:
        state = "added" if new else "was there already"
        print_line(f"{trusted_keys_path()}: key {key_text(key.key_id)} {state}")


def _print_trusted(added: bool) -> None:
    """The document of all trusted keys, and whether one is new."""
    from bankai.signing.signature import key_text, trusted_keys, trusted_keys_path

    keys = [{"id": key_text(key.key_id), "key": key.line} for key in trusted_keys()]
    print_json({"file": trusted_keys_path(), "keys": keys, "added": added})


def _tell_not_proven(patch: Path, error: SignatureError, json: bool) -> NoReturn:
    states = {UnsignedError: "unsigned", TamperedError: "tampered"}
    if json:
        print_json({"patch": patch, "state": states.get(type(error), "untrusted"), "message": str(error)})
    else:
        note(f"bankai: {error}")
    raise typer.Exit(NOT_PROVEN)


def _password() -> str:
    """Of a key that is there: from the environment, else asked for."""
    password = os.environ.get(PASSWORD)
    if password is None:
        _require_somebody(f"set {PASSWORD}")
        password = typer.prompt("Password", hide_input=True, err=True)
    return password


def _new_password() -> str:
    """For a key to be made: from the environment, else asked for twice."""
    password = os.environ.get(PASSWORD)
    if password is None:
        _require_somebody(f"set {PASSWORD} or give --no-password")
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    if not password:
        raise typer.BadParameter("it is empty; set another, or give --no-password", param_hint="the password")
    return password


def _require_somebody(remedy: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody is there to ask for it; {remedy}", param_hint="the password")
