"""Who may ask: keys from files and the environment, and where a server may listen."""

import socket
from pathlib import Path

import pytest

from bankai.cli.main import main
from bankai.errors import ServingError
from bankai.serving.http.door import KEY_VARIABLE, read_key
from bankai.serving.http.server import is_loopback, listen, names_of


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_a_file_holds_the_key_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_key(None) is None
    monkeypatch.setenv(KEY_VARIABLE, "of-the-environment")
    assert read_key(None) == "of-the-environment"
    (tmp_path / "key").write_text("of-the-file\r\n")
    assert read_key(tmp_path / "key") == "of-the-file"
    (tmp_path / "key").write_text("of-an-editor\r\n", "utf-8-sig")
    assert read_key(tmp_path / "key") == "of-an-editor"


@pytest.mark.parametrize(
    "text", ["", "\n", "2short", "two words here", "schlüssel-zum-haus", "line\nanother-line"], ids=range(6)
)
def test_what_is_no_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ServingError, match="holds no key: give at least 8") as told:
        read_key(tmp_path / "key")
    assert not text.strip() or text.strip() not in str(told.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("", False),
        ("localhost.example", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback
    assert {"localhost", "127.0.0.1", "::1"} <= names_of(host)


def test_listening() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert listener.proto == socket.IPPROTO_TCP, "else small answers wait 40 ms for each other"
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(ServingError, match=f"port {port}: .*choose another --host or --port"):
            listen("127.0.0.1", port)
    for nowhere in ("nowhere.invalid", "no..where", "x" * 64):
        with pytest.raises(ServingError, match=f"cannot listen at {nowhere}"):
            listen(nowhere, 0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--host", "0.0.0.0"], "--api-key-file"),
        (["--library", "none.library"], "there is no library"),
        (["--engine", "llama", "--device", "cuda"], "--engine torch"),
        (["--api-key-file", "none"], "none: No such file"),
        (["--queue", "-1"], "--queue"),
    ],
    ids=str,
)
def test_refusals(
    options: list[str],
    why: str,
    tiny_gguf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(tiny_gguf), "--port", "0", *options])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert why in err
