"""Patches as directories and repositories of the Hub: what is written, what is read back, what is refused."""

import base64
import hashlib
import json
import pickle
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from patches import PATCHES, TEXT

from bankai import Flip, Manifest, Patch, from_pretrained, push_to_hub, save_pretrained
from bankai.errors import MissingExtraError, PatchFormatError, StoreError
from bankai.library.hub import CARD, PATCH, model_card
from bankai.patch import Binding, read_patch
from bankai.patch.codec import MAX_FILE

BINDING = Binding(b"12345678", b"before..", b"after...")
RESULTS = {
    "heldout": {"probes": 400, "base": 66, "patched": 372, "fixed": 307, "broke": 1},
    "control": {"probes": 512, "base": 495, "patched": 492, "fixed": 3, "broke": 6},
    "fitness": 1.4808,
}
VALUE = Patch(
    frozenset([Flip("model.layers.0.mlp.up_proj", 3), Flip("model.layers.1.mlp.down_proj", 7, 1)]),
    BINDING,
    Manifest(name="derivatives", base_model="owner/base", seed=0, strategy="guided", results=RESULTS),
)


def same(one: Patch, other: Patch) -> bool:
    return (one.flips, one.binding, one.manifest) == (other.flips, other.binding, other.manifest)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATCHES)
def test_a_directory_gives_the_patch_back(tmp_path_factory, patch) -> None:
    directory = tmp_path_factory.mktemp("hub") / "a" / "b"
    save_pretrained(patch, directory)
    assert same(from_pretrained(directory), patch) and same(from_pretrained(str(directory)), patch)
    assert {path.name for path in directory.iterdir()} == {PATCH, CARD}
    assert ModelCard.load(directory / CARD).data.library_name == "bankai"


def test_the_card_has_what_the_hub_reads(tmp_path) -> None:
    save_pretrained(VALUE, tmp_path, license="apache-2.0", tags=["calculus", "bankai"])
    card = ModelCard.load(tmp_path / CARD)
    data = card.data.to_dict()
    assert data["base_model"] == "owner/base" and data["base_model_relation"] == "adapter"
    assert data["license"] == "apache-2.0" and data["library_name"] == "bankai"
    assert data["tags"] == ["bankai", "xor-patch", "1-bit", "calculus"]
    found = {
        (result.dataset_name, result.metric_name): result.metric_value for result in card.data.eval_results
    }
    assert found == {
        ("heldout", "solved with the patch"): 0.93,
        ("heldout", "solved by the base"): 0.165,
        ("control", "solved with the patch"): 0.9609,
        ("control", "solved by the base"): 0.9668,
    }
    assert card.data.model_name == "derivatives"
    assert "| heldout | 400 | 66 | 372 | 307 | 1 |" in card.text and "- fitness: 1.4808" in card.text
    assert "[owner/base](https://huggingface.co/owner/base)" in card.text
    assert "2 flips (1 rows, 1 groups) in" in card.text and BINDING.fingerprint.hex() in card.text


@pytest.mark.parametrize("wrong", [{"base": -1}, {"patched": 401}, {"probes": 0}, {"fixed": True}])
def test_counts_that_cannot_be_are_left_out(wrong: dict[str, int]) -> None:
    results = {"heldout": RESULTS["heldout"] | wrong}
    card = ModelCard(model_card(Patch(VALUE.flips, BINDING, Manifest(results=results))))
    assert "model-index" not in card.data.to_dict() and "heldout" not in card.text


def test_what_is_not_known_is_left_out() -> None:
    card = ModelCard(model_card(Patch.of([Flip("lm_head", 1)], Manifest(base_model="nano"))))
    assert set(card.data.to_dict()) == {"library_name", "tags"}
    assert "Results" not in card.text and "model nano:" in card.text and "bankai bind" in card.text
    named = ModelCard(model_card(Patch.empty(), base_model="some/base")).data.to_dict()
    assert named["base_model"] == "some/base" and "license" not in named


HOSTILE = "x](http://evil) <img src=y> `a` | b\n---\nlicense: mit\n# title \x1b[2J \u202e"


def test_what_a_patch_says_of_itself_is_only_text() -> None:
    manifest = Manifest(
        name=HOSTILE,
        description=HOSTILE,
        base_model=HOSTILE,
        strategy=HOSTILE,
        versions={HOSTILE: HOSTILE},
        results={HOSTILE: RESULTS["heldout"], "note": HOSTILE},
    )
    text = model_card(Patch(VALUE.flips, BINDING, manifest))
    card = ModelCard(text)
    assert set(card.data.to_dict()) == {"library_name", "tags", "model-index"}
    assert "\x1b" not in text and "\u202e" not in text
    assert not re.search(r"(?<!\\)(<img|\]\(http://evil|`a`)", card.text)
    assert [line for line in card.text.splitlines() if line.startswith("#")][1:] == [
        "## Results",
        "## Use",
        "## Made with",
    ]


@settings(max_examples=50)
@given(TEXT, TEXT)
def test_any_text_makes_a_sound_card(name, license) -> None:
    manifest = Manifest(name=name, description=name, results={name: RESULTS["heldout"]})
    data = ModelCard(model_card(Patch.of([], manifest), license=license, tags=[name])).data.to_dict()
    assert data["library_name"] == "bankai" and "model-index" in data


def test_a_card_that_was_edited_stays(tmp_path) -> None:
    (tmp_path / CARD).write_text("mine")
    save_pretrained(VALUE, tmp_path)
    assert (tmp_path / CARD).read_text() == "mine" and same(from_pretrained(tmp_path), VALUE)


def test_bad_directories_are_refused(tmp_path) -> None:
    with pytest.raises(PatchFormatError, match=re.escape(PATCH)):
        from_pretrained(tmp_path)
    (tmp_path / PATCH).write_bytes(pickle.dumps(VALUE.manifest.name))
    with pytest.raises(PatchFormatError, match="neither a .bankai patch"):
        from_pretrained(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made"):
        save_pretrained(VALUE, tmp_path / "file" / "below")
    for name in ("nothing", "a/b/c", "../up", "-x/y"):
        with pytest.raises(PatchFormatError, match="neither a directory nor"):
            from_pretrained(name)
        with pytest.raises(StoreError, match="owner/name"):
            push_to_hub(VALUE, name)


def test_without_the_package_a_directory_still_works(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    save_pretrained(VALUE, tmp_path)
    assert same(from_pretrained(tmp_path), VALUE)
    with pytest.raises(MissingExtraError, match=r"pip install 'bankai\[hub\]'"):
        from_pretrained("owner/name")
    with pytest.raises(MissingExtraError, match=r"pip install 'bankai\[hub\]'"):
        push_to_hub(VALUE, "owner/name")


class Hub(ThreadingHTTPServer):
    """The requests of the Hub's API that a push of small files and a download make, on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.claimed: int | None = None  # a size that the server lies about

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    commit = "0" * 40

    def log_message(self, *_: object) -> None:
        """Be silent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(f"POST {self.path}")
        if self.path == "/api/repos/create":
            self.answer(
                {"url": f"{self.server.url}/{json.loads(body)['organization']}/{json.loads(body)['name']}"}
            )
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self.answer(
                {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
            )
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {"commitUrl": f"{self.server.url}/owner/name/commit/{self.commit}", "commitOid": self.commit}
            )
        else:
            self.answer({"error": "unknown"}, 404)

    def do_HEAD(self) -> None:
        self.send_file(with_body=False)

    def do_GET(self) -> None:
        self.send_file(with_body=True)

    def send_file(self, with_body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        data = self.server.files.get(self.path.rpartition("/")[2])
        if not re.match(rf"/owner/name/resolve/(main|{self.commit})/", self.path) or data is None:
            self.answer({"error": "not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(self.server.claimed or len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def answer(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_push_and_get_back(hub, tmp_path) -> None:
    url = push_to_hub(VALUE, "owner/name", license="mit", token="hf_test", endpoint=hub.url)
    assert url == f"{hub.url}/owner/name/commit/{Handler.commit}"
    assert set(hub.files) == {PATCH, CARD}
    card = ModelCard(hub.files[CARD].decode())
    assert card.data.license == "mit" and 'from_pretrained("owner/name")' in card.text
    hub.files["pytorch_model.bin"] = pickle.dumps("never read")
    hub.requests.clear()
    options = {"endpoint": hub.url, "cache_dir": tmp_path, "token": False}
    assert same(from_pretrained("owner/name", **options), VALUE)
    assert hub.requests and all(request.endswith(f"/{PATCH}") for request in hub.requests)
    hub.requests.clear()
    assert same(from_pretrained("owner/name", revision=Handler.commit, **options), VALUE)
    assert same(from_pretrained("owner/name", local_files_only=True, **options), VALUE)
    assert hub.requests == []


def test_what_the_hub_does_not_have_is_told(hub, tmp_path) -> None:
    options = {"endpoint": hub.url, "cache_dir": tmp_path, "token": False}
    with pytest.raises(PatchFormatError, match="cannot get patch owner/name: .*check name"):
        from_pretrained("owner/name", **options)
    with pytest.raises(PatchFormatError, match="cannot get patch owner/name"):
        from_pretrained("owner/name", local_files_only=True, **options)
    hub.files[PATCH] = b"not a patch"
    with pytest.raises(PatchFormatError, match="neither a .bankai patch"):
        from_pretrained("owner/name", **options)


def test_a_large_file_is_not_fetched(hub, tmp_path) -> None:
    hub.files[PATCH], hub.claimed = b"\xb1XOR", MAX_FILE + 1
    with pytest.raises(PatchFormatError, match=f"larger than {MAX_FILE} bytes"):
        from_pretrained("owner/name", endpoint=hub.url, cache_dir=tmp_path, token=False)
    assert [request.split()[0] for request in hub.requests] == ["HEAD"]
    assert not list(tmp_path.rglob(PATCH))


def test_nobody_answers(tmp_path) -> None:
    with Hub() as server:
        url = server.url
    with pytest.raises(StoreError, match="cannot write owner/name: .*check name, token and network"):
        push_to_hub(VALUE, "owner/name", token="hf_test", endpoint=url)


def test_a_pushed_file_is_the_patch_file(hub, tmp_path) -> None:
    push_to_hub(VALUE, "owner/name", token="hf_test", endpoint=hub.url)
    (tmp_path / "p.bankai").write_bytes(hub.files[PATCH])
    assert same(read_patch(tmp_path / "p.bankai"), VALUE)
