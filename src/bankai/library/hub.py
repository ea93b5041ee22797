"""Patches in the conventions of the Hugging Face Hub: a directory of two files, got by name, pushed with a card.

Contract: the directory holds `patch.bankai` and `README.md`, the card. Only `patch.bankai` is ever read back: it is
data, its size is checked before it is fetched, and no other file of a repository is touched. A local directory needs no
network and no package; the Hub needs the `[hub]` extra. What a patch says about itself is written into a card as plain
text.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bankai.errors import BankaiError, MissingExtraError, PatchFormatError, StoreError
from bankai.io import writing
from bankai.patch.codec import MAX_FILE, encode
from bankai.patch.files import read_patch, write_patch
from bankai.patch.patch import Patch

__all__ = ["CARD", "PATCH", "from_pretrained", "model_card", "push_to_hub", "save_pretrained"]

PATCH, CARD = "patch.bankai", "README.md"
_TAGS = ("bankai", "xor-patch")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_COUNTS = ("probes", "base", "patched", "fixed", "broke")  # of a comparison among the results
_MAX_TEXT = 2000


def save_pretrained(
    patch: Patch,
    directory: str | Path,
    *,
    base_model: str = "",
    license: str = "",
    tags: Sequence[str] = (),
    repo_id: str = "",
) -> None:
    """Write the patch and its card to a directory, made if it is not there; a card that is there stays.

    The arguments are those of `model_card`. Raises StoreError and PatchFormatError.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{directory} cannot be made: {error}; choose another place") from error
    write_patch(patch, directory / PATCH)
    if not (directory / CARD).exists():
        card = model_card(patch, base_model=base_model, license=license, tags=tags, repo_id=repo_id)
        with writing(directory / CARD) as temporary:
            temporary.write_text(card, encoding="utf-8")


def from_pretrained(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    endpoint: str | None = None,
) -> Patch:
    """The patch of a local directory, or else of a repository "owner/name" on the Hub.

    `revision` is a branch, tag or commit of the repository; the other arguments are those of `hf_hub_download`. Raises
    PatchFormatError, and MissingExtraError without huggingface_hub.
    """
    if Path(name).is_dir():
        return read_patch(Path(name) / PATCH)
    if not _REPOSITORY.fullmatch(str(name)):
        raise PatchFormatError(f"{name} is neither a directory nor owner/name on the Hub; check the name")
    with _hub(f"cannot get patch {name}", PatchFormatError, "check name, revision, token and network"):
        from huggingface_hub import hf_hub_download

        options: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "endpoint": endpoint}
        options |= {"local_files_only": local_files_only, "library_name": "bankai"}
        if not local_files_only:
            size = hf_hub_download(str(name), PATCH, revision=revision, dry_run=True, **options).file_size
            if size is None or size > MAX_FILE:
                raise PatchFormatError(f"{PATCH} of {name} is larger than {MAX_FILE} bytes; it is no patch")
        path = hf_hub_download(str(name), PATCH, revision=revision, **options)
    return read_patch(path)


def push_to_hub(
    patch: Patch,
    repo_id: str,
    *,
    base_model: str = "",
    license: str = "",
    tags: Sequence[str] = (),
    commit_message: str = "Upload patch",
    revision: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
    endpoint: str | None = None,
) -> str:
    """Write the patch and its card to the repository "owner/name", made if it is not there; return the commit's URL.

    A card that the repository has is replaced. Raises StoreError, PatchFormatError, and MissingExtraError without
    huggingface_hub.
    """
    if not _REPOSITORY.fullmatch(repo_id):
        raise StoreError(f"{repo_id} is not a name on the Hub; give owner/name")
    with TemporaryDirectory() as folder:
        save_pretrained(patch, folder, base_model=base_model, license=license, tags=tags, repo_id=repo_id)
        with _hub(f"cannot write {repo_id}", StoreError, "check name, token and network"):
            from huggingface_hub import HfApi

            api = HfApi(endpoint=endpoint, token=token, library_name="bankai")
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                allow_patterns=[PATCH, CARD],
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )
    return str(commit.commit_url)


def model_card(
    patch: Patch, *, base_model: str = "", license: str = "", tags: Iterable[str] = (), repo_id: str = ""
) -> str:
    """The text of README.md: metadata for the Hub, results, and how to use the patch.

    `base_model` is the base's name on the Hub; without it, the one in the manifest, if that is such a name.
    `license` is the Hub's short name of one. `repo_id` is where the patch will be.
    """
    manifest = patch.manifest
    base = base_model or manifest.base_model
    metadata: dict[str, Any] = {
        "library_name": "bankai",
        "tags": list(dict.fromkeys((*_TAGS, *_one_bit(patch), *map(_line, tags)))),
    }
    if _REPOSITORY.fullmatch(base):
        metadata |= {"base_model": base, "base_model_relation": "adapter"}
    if license:
        metadata["license"] = _line(license)
    compared = list(_comparisons(patch))
    if compared:
        metadata["model-index"] = [{"name": _line(manifest.name) or "patch", "results": _index(compared)}]
    # JSON is YAML, and quotes whatever a patch says of itself.
    front = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items()]
    sections = [
        _about(patch, base),
        _results(patch, compared),
        _use(repo_id or "path/to/this/directory"),
        _made(patch),
    ]
    return "\n".join(["---", *front, "---", "", *filter(None, sections)])


def _one_bit(patch: Patch) -> tuple[str, ...]:
    """The tag of a patch that is bound to a true 1-bit model."""
    return ("1-bit",) if patch.binding and patch.binding.version == 1 else ()


def _about(patch: Patch, base: str) -> str:
    manifest, name = patch.manifest, _escaped(base)
    linked = f"[{name}](https://huggingface.co/{base})" if _REPOSITORY.fullmatch(base) else name
    counts = {"rows": len(patch.rows), "groups": len(patch.groups), "single bits": len(patch.bits)}
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    lines = [f"# {_escaped(manifest.name) or 'A Bankai patch'}", ""]
    if manifest.description:
        lines += [_escaped(manifest.description), ""]
    kind = "true 1-bit model" if _one_bit(patch) else "model"
    lines.append(
        f"An XOR patch for the {kind} {linked or 'that it is bound to'}: {len(patch)} flips"
        f"{f' ({kinds})' if kinds else ''} in {len(encode(patch))} bytes. It goes on and comes off exactly."
    )
    return "\n".join([*lines, ""])


def _results(patch: Patch, compared: Sequence[tuple[str, dict[str, int]]]) -> str:
    results = patch.manifest.results
    lines = ["## Results", ""]
    if compared:
        lines += ["| probes | number | solved by the base | with the patch | fixed | broke |"]
        lines += ["| --- | --: | --: | --: | --: | --: |"]
        for name, counts in compared:
            lines.append(f"| {_escaped(name)} | {' | '.join(str(counts[key]) for key in _COUNTS)} |")
        lines += ["", "*Solved*: greedy decoding gives an accepted answer, its end included.", ""]
    single = {name: value for name, value in results.items() if isinstance(value, int | float | str)}
    lines += [f"- {_escaped(name)}: {_escaped(value)}" for name, value in sorted(single.items())]
    return "\n".join([*lines, ""]) if compared or single else ""


def _use(source: str) -> str:
    return f"""\
## Use

```python
from bankai import from_pretrained, load, patched

patch = from_pretrained("{source}")
model, tokenizer = load("base.gguf")
with patched(model, patch):
    ...
```

`bankai apply base.gguf {PATCH} -o patched.gguf` writes a changed copy of a model file for llama.cpp, LM Studio or \
MLX; `bankai revert` takes the patch off again.
"""


def _made(patch: Patch) -> str:
    manifest, binding = patch.manifest, patch.binding
    facts = {
        "bound to": f"fingerprint {binding.fingerprint.hex()}"
        if binding
        else "nothing; bind it with `bankai bind`",
        "strategy": _escaped(manifest.strategy),
        "objective": _escaped(manifest.objective),
        "seed": manifest.seed,
        "probes": _escaped(manifest.probes),
        "versions": ", ".join(
            f"{_escaped(name)} {_escaped(value)}" for name, value in manifest.versions.items()
        ),
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value not in (None, "")]
    return "\n".join(["## Made with", "", *lines, ""])


def _comparisons(patch: Patch) -> Iterator[tuple[str, dict[str, int]]]:
    """The results that count probes, by name."""
    for name, value in sorted(patch.manifest.results.items()):
        if isinstance(value, dict):
            counts = {key: count for key in _COUNTS if type(count := value.get(key)) is int}
            if len(counts) == len(_COUNTS) and _possible(**counts):
                yield name, counts


def _possible(probes: int, **counts: int) -> bool:
    return probes > 0 and all(0 <= count <= probes for count in counts.values())


def _index(compared: Sequence[tuple[str, dict[str, int]]]) -> list[dict[str, Any]]:
    """The Hub's form of results: https://huggingface.co/docs/hub/model-cards."""
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"type": "bankai-probes", "name": _line(name)},
            "metrics": [
                {
                    "type": "accuracy",
                    "name": f"solved {who}",
                    "value": round(counts[key] / counts["probes"], 4),
                }
                for key, who in (("patched", "with the patch"), ("base", "by the base"))
            ],
        }
        for name, counts in compared
    ]


def _line(text: object) -> str:
    """One line of printable characters."""
    return "".join(
        character if character.isprintable() else " " for character in str(text)[:_MAX_TEXT]
    ).strip()


def _escaped(text: object) -> str:
    """A line that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&:@!])", r"\\\1", _line(text))


@contextmanager
def _hub(what: str, kind: type[PatchFormatError] | type[StoreError], remedy: str) -> Iterator[None]:
    """What huggingface_hub and the network raise, as an error of this package."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise MissingExtraError(
            f"{what}: it needs huggingface_hub; run: pip install 'bankai[hub]'"
        ) from error
    except BankaiError:
        raise
    except Exception as error:  # those of huggingface_hub and of its HTTP client have no common root
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise kind(f"{what}: {reason}; {remedy}") from error
