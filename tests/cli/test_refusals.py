"""Every wrong argument or file: exit code 2, one line on stderr, nothing on stdout, nothing changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from bankai.cli.main import COMMANDS

BAD_PATCHES = ("missing", "directory", "empty", "random bytes", "truncated", "bad JSON", "another model's")
BAD_MODELS = ("missing", "directory", "empty", "random bytes", "truncated")
BAD_SETS = ("missing", "directory", "empty", "bad JSON", "random bytes", "unknown field", "bad split")


def contents(kind: str, sound: bytes) -> bytes:
    return {
        "empty": b"",
        "random bytes": bytes((7 * n * n + 3) % 256 for n in range(4096)),
        "truncated": sound[: len(sound) // 2],
        "bad JSON": b'{"format": "bankai_row_xor_v1", "flips": [',
        "unknown field": b'{"id": "a", "frobnicate": 1}\n',
        "bad split": b'{"id":"a","item":"a","category":"c","split":"no","prompt":"x","answers":["y"]}',
    }[kind]


def bad_file(kind: str, path: Path, sound: bytes = b"") -> Path:
    """Make the file that `kind` names."""
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents(kind, sound))
    return path


@pytest.fixture
def bad_patch(request: pytest.FixtureRequest, tmp_path: Path, patch: Path) -> Path:
    if request.param == "another model's":
        from bankai.patch import Binding, Flip, Patch, write_patch

        binding = Binding(b"1" * 8, b"2" * 8, b"3" * 8)
        value = Patch(frozenset([Flip("model.layers.0.mlp.up_proj", 1)]), binding)
        write_patch(value, tmp_path / "other.bankai")
        return tmp_path / "other.bankai"
    return bad_file(request.param, tmp_path / "bad.bankai", patch.read_bytes())


@pytest.fixture
def bad_model(request: pytest.FixtureRequest, tmp_path: Path, tiny_gguf: Path) -> Path:
    return bad_file(request.param, tmp_path / "bad.gguf", tiny_gguf.read_bytes())


@pytest.fixture
def bad_set(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return bad_file(request.param, tmp_path / "bad.jsonl")


def commands_on_a_patch(model: object, patch: object) -> list[tuple[object, ...]]:
    return [
        ("apply", model, patch, "-o", "out.gguf"),
        ("apply", model, patch, "--in-place"),
        ("revert", model, patch, "-o", "out.gguf"),
        ("generate", model, "hello", "--patch", patch),
    ]


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("bad_patch", BAD_PATCHES, indirect=True)
def test_bad_patch(refused, gguf: Path, bad_patch: Path, probe_file: Path, json: list[str]) -> None:
    before = gguf.read_bytes()
    for command in commands_on_a_patch(gguf, bad_patch):
        refused(*command, *json)
    refused("eval", gguf, "--patch", bad_patch, "--probes", probe_file, *json)
    if bad_patch.name == "bad.bankai":
        refused("info", bad_patch, *json)
        refused("status", gguf, bad_patch, *json)
        refused("bind", bad_patch, "--model", gguf, "-o", "out.bankai", *json)
        refused("compose", bad_patch, bad_patch, "-o", "out.bankai", *json)
    assert gguf.read_bytes() == before
    assert not Path("out.gguf").exists() and not Path("out.bankai").exists()


@pytest.mark.parametrize("bad_model", BAD_MODELS, indirect=True)
def test_bad_model(refused, bad_model: Path, patch: Path, probe_file: Path) -> None:
    for command in commands_on_a_patch(bad_model, patch):
        refused(*command)
    refused("status", bad_model)
    refused("model", bad_model)
    refused("convert", bad_model, "out.gguf")
    refused("bind", patch, "--model", bad_model, "-o", "out.bankai")
    refused("info", patch, "--model", bad_model)
    refused("eval", bad_model, "--probes", probe_file)
    refused("search", bad_model, "--target", probe_file, "-o", "out.bankai")
    refused("probes", "audit", probe_file, "--model", bad_model)
    assert not Path("out.gguf").exists() and not Path("out.bankai").exists()


@pytest.mark.parametrize("bad_set", BAD_SETS, indirect=True)
def test_bad_probe_set(refused, bad_set: Path, gguf: Path, probe_file: Path) -> None:
    refused("eval", gguf, "--probes", bad_set)
    refused("search", gguf, "--target", bad_set, "-o", "out.bankai")
    refused("search", gguf, "--target", probe_file, "--control", bad_set, "-o", "out.bankai")
    refused("search", gguf, "--target", probe_file, "--heldout", bad_set, "-o", "out.bankai")
    refused("probes", "audit", bad_set, "--model", gguf)
    assert not Path("out.bankai").exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("argument", ["--frobnicate", "--json=maybe"])
def test_unknown_option(refused, name: str, argument: str) -> None:
    refused(name, argument)


NEEDY = [
    name for name, place in COMMANDS.items() if name not in ("demo", "keygen") and not place.endswith(":app")
]


@pytest.mark.parametrize("name", NEEDY)  # a group of commands shows its help
def test_missing_argument(refused, name: str) -> None:
    assert "Missing" in refused(name).err


@pytest.mark.parametrize(
    ("args", "help_"),
    [
        (("frobnicate",), "bankai --help"),
        (("library", "frobnicate"), "bankai library --help"),
        (("generate", "nano", "x", "--frobnicate"), "bankai generate --help"),
        (("convert", "nano"), "bankai convert --help"),
    ],
)
def test_what_is_not_known_names_the_help(refused, args: tuple[str, ...], help_: str) -> None:
    assert refused(*args).err.endswith(f"; see: {help_}\n")


@pytest.mark.parametrize(
    "args",
    [
        ("frobnicate",),
        ("inf", "x"),
        ("eval", "MODEL", "--probes", "SET", "--split", "training"),
        ("eval", "MODEL", "--probes", "SET", "--engine", "abacus"),
        ("eval", "MODEL", "--probes", "no_such_set"),
        ("search", "MODEL", "--target", "SET", "-o", "x.bankai", "--strategy", "magic"),
        ("search", "MODEL", "--target", "SET", "-o", "x.bankai", "--budget", "0"),
        ("search", "MODEL", "--target", "SET", "-o", "x.bankai", "--budget", "many"),
        ("search", "MODEL", "--target", "SET", "-o", "nowhere/x.bankai"),
        ("search", "MODEL", "--target", "SET", "-o", "."),
        ("generate", "MODEL", "hi", "--temperature", "-1"),
        ("generate", "MODEL", "hi", "--max-tokens", "0"),
        ("generate", "MODEL", ""),
        ("convert", "MODEL", "MODEL"),
        ("apply", "MODEL", "PATCH", "-o", "MODEL"),
        ("apply", "nano", "PATCH", "--in-place"),
        ("demo", "-o", "nowhere/x.bankai"),
        ("demo", "--seed", "one"),
        ("bind", "PATCH", "--model", "MODEL", "-o", "nowhere/x.bankai"),
        ("compose", "PATCH", "PATCH", "-o", "."),
        ("probes", "frobnicate"),
    ],
    ids=lambda args: " ".join(args),
)
def test_wrong_argument(refused, gguf: Path, patch: Path, probe_file: Path, args: tuple[str, ...]) -> None:
    before = gguf.read_bytes()
    names = {"MODEL": gguf, "PATCH": patch, "SET": probe_file}
    refused(*(names.get(arg, arg) for arg in args))
    assert gguf.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "choices"),
    [
        (("eval", "nano", "--probes", "elicitable", "--engine", "abacus"), "'torch', 'llama', 'mlx'"),
        (
            ("search", "nano", "--target", "elicitable", "-o", "x", "--strategy", "magic"),
            "'guided', 'relaxed', 'greedy'",
        ),
    ],
)
def test_wrong_choice_names_the_choices(refused, args: tuple[str, ...], choices: str) -> None:
    error = refused(*args).err
    assert choices in error and "Value error" not in error


def test_empty_split_names_the_others(refused, gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "targets.jsonl"
    path.write_text('{"id":"a","item":"a","category":"c","split":"target","prompt":"x","answers":["y"]}\n')
    assert "no heldout probes, only target;" in refused("eval", gguf, "--probes", path).err


def test_file_inside_a_file(refused, gguf: Path, patch: Path) -> None:
    refused("info", patch / "inner.bankai")
    refused("apply", gguf, patch, "-o", patch / "out.gguf")
    refused("convert", gguf, patch / "out.gguf")


def test_hostile_name_stays_on_one_line(refused) -> None:
    assert "\x1b" not in refused("info", "a\nb\x1b[31m.bankai").err


@pytest.mark.parametrize("seed", [99999999999999999999, 1 << 63, -1])
def test_seed_out_of_range(refused, gguf: Path, probe_file: Path, seed: int) -> None:
    refused("demo", "--seed", seed)
    refused("generate", gguf, "hi", "--seed", seed)
    refused("search", gguf, "--target", probe_file, "-o", "x.bankai", "--seed", seed)


def test_arguments_that_are_not_utf8(refused, gguf: Path) -> None:
    assert "UTF-8" in refused("generate", gguf, "a\udcff").err
    assert "UTF-8" in refused("info", "a\udcff.bankai").err


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
        "DefaultCPUAllocator: not enough memory",
    ],
)
def test_torch_out_of_memory(refused, monkeypatch: pytest.MonkeyPatch, patch: Path, message: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr("bankai.cli.info.describe_patch", fail)
    assert "not enough memory for this model" in refused("info", patch).err


def test_closed_stdout(patch: Path) -> None:
    command = [sys.executable, "-m", "bankai", "info", str(patch)]
    # The child's own view: descriptor 1 closed, as `>&-` leaves it.
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("bankai: standard output is closed") and done.stderr.count("\n") == 1
