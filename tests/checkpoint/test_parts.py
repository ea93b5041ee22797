"""Files that come with models and are none: each is told what it is, and what to do."""

import json
import re
import shutil
from pathlib import Path

import pytest
from builders import LLAMA, build_tiny_gguf, tiny_config, tiny_tensors, tiny_tokenizer
from safetensors.numpy import load_file, save_file

from bankai.architectures import architecture
from bankai.checkpoint.convert import convert, stored_tensors
from bankai.checkpoint.gguf import write_gguf
from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import BankaiError, ModelFormatError, UnsupportedModelError
from bankai.patch import Patch, bind, read_patch
from bankai.patch.binding import content_digest

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 4242\n".format("0" * 64)


def refusal(path: Path, kind: type[BankaiError] = UnsupportedModelError) -> str:
    with pytest.raises(kind) as caught:
        open_checkpoint(path)
    assert "get it again" not in str(caught.value)
    return str(caught.value)


def split(path: Path, number: int, count: int, **metadata: object) -> Path:
    """A file as llama.cpp's gguf-split writes it: all have the keys of the split, the first those of the model too."""
    keys = {"general.architecture": "qwen3"} if number == 0 else {"general.architecture": ""}
    write_gguf(
        path, {**keys, "split.no": number, "split.count": count, "split.tensors.count": 9, **metadata}, {}
    )
    return path


@pytest.mark.parametrize("number", [0, 1])
def test_a_part_of_a_split_model_says_how_to_join_it(tmp_path: Path, number: int) -> None:
    path = split(tmp_path / f"big-Q4_K_M-{number + 1:05d}-of-00002.gguf", number, 2)
    join = "llama-gguf-split --merge big-Q4_K_M-00001-of-00002.gguf big-Q4_K_M.gguf"
    assert "is one of the 2 files of a model; join them" in refusal(path) and refusal(path).endswith(join)
    renamed = path.rename(tmp_path / "big.gguf")
    assert refusal(renamed).endswith("--merge FIRST MODEL.gguf")


def test_a_model_in_one_part_is_a_model(tmp_path: Path) -> None:
    keys = {"split.no": 0, "split.count": 1, "general.type": "model"}
    open_checkpoint(build_tiny_gguf(tmp_path / "m-00001-of-00001.gguf", metadata=keys)).close()


@pytest.mark.parametrize("ends", [("-split-a", "-split-b"), (".part1of2", ".part2of2"), (".part1", ".part2")])
def test_a_piece_of_a_file_says_how_to_join_it(
    tiny_gguf: Path, tmp_path: Path, ends: tuple[str, str]
) -> None:
    data = tiny_gguf.read_bytes()
    pieces = [tmp_path / f"Big.Q4.gguf{end}" for end in ends]
    pieces[0].write_bytes(data[: len(data) // 2])
    pieces[1].write_bytes(data[len(data) // 2 :])
    for piece in pieces:
        assert refusal(piece).endswith("is a piece of Big.Q4.gguf; put the pieces together in their order: "
                                       "cat Big.Q4.gguf?* > Big.Q4.gguf")  # fmt: skip
    whole = tmp_path / "whole.gguf.part1"
    shutil.copy(tiny_gguf, whole)
    open_checkpoint(whole).close()  # a name alone says nothing


@pytest.mark.parametrize(
    ("kind", "words"), [("adapter", "an adapter"), ("mmproj", "reads images"), ("imatrix", "a table")]
)
def test_what_goes_with_a_model_is_no_model(tmp_path: Path, kind: str, words: str) -> None:
    for name in ("qwen3", "clip"):
        write_gguf(tmp_path / "x.gguf", {"general.architecture": name, "general.type": kind}, {})
        told = refusal(tmp_path / "x.gguf")
        assert words in told and told.endswith("not a model; give the model that it is for")


def test_an_older_part_that_reads_images_says_no_type(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", {"general.architecture": "clip", "clip.has_vision_encoder": True}, {})
    assert "x.gguf is the part of a model that reads images, not a model" in refusal(tmp_path / "x.gguf")


@pytest.mark.parametrize("experts", ["blk.{}.ffn_{}_exps.weight", "blk.{}.ffn_{}.0.weight"])
def test_a_model_of_experts_is_not_called_incomplete(tmp_path: Path, experts: str) -> None:
    """Also where its architecture has the name of one without, as Mixtral's has."""
    config = tiny_config(**LLAMA)
    tensors = {
        re.sub(
            r"^blk\.(\d)\.ffn_(gate|up|down)\.weight$", lambda m: experts.format(*m.groups()), name
        ): tensor
        for name, tensor in stored_tensors(tiny_tensors(config), config).items()
    }
    keys = (
        architecture("llama").config_to_gguf(config) | tiny_tokenizer().to_gguf() | {"llama.expert_count": 1}
    )
    write_gguf(tmp_path / "moe.gguf", keys, tensors)
    assert refusal(tmp_path / "moe.gguf").endswith(
        f"llama with a tensor {experts.format(0, 'down')!r} is not supported yet"
    )


def test_an_mlx_model_of_experts_is_not_called_incomplete(mlx: Path) -> None:
    values = load_file(mlx / "model.safetensors")
    renamed = {name.replace("mlp.up_proj", "mlp.switch_mlp.up_proj"): value for name, value in values.items()}
    save_file(renamed, mlx / "model.safetensors")
    assert "mlp.switch_mlp.up_proj.biases' is not supported yet" in refusal(mlx)


def test_our_own_adapters_are_told_so(tiny_gguf: Path, tmp_path: Path) -> None:
    from bankai.checkpoint.lora import write_gguf_lora, write_peft
    from bankai.patch import Flip

    flips = [Flip("model.layers.0.mlp.up_proj", 3)]
    with open_checkpoint(tiny_gguf) as checkpoint:
        write_gguf_lora(tmp_path / "lora.gguf", checkpoint, flips)
        write_peft(tmp_path / "lora", checkpoint, flips)
    assert "is an adapter (LoRA), not a model" in refusal(tmp_path / "lora.gguf")
    assert "is an adapter (LoRA), not a model" in refusal(tmp_path / "lora", ModelFormatError)


@pytest.fixture
def mlx(tiny_gguf: Path, tmp_path: Path) -> Path:
    return convert(tiny_gguf, tmp_path / "mlx")


def shard(model: Path, count: int = 3) -> list[Path]:
    """Cut the weights as larger models come, without the index that goes with them."""
    values = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    paths = [model / f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    for number, path in enumerate(paths):
        save_file({name: values[name] for name in sorted(values)[number::count]}, path)
    return paths


def test_shards_without_an_index_are_read(mlx: Path) -> None:
    with open_checkpoint(mlx) as checkpoint:
        before = content_digest(checkpoint)
    paths = shard(mlx)
    (mlx / "._model-00001-of-00009.safetensors").write_bytes(b"\0\5\26\7")
    with open_checkpoint(mlx) as checkpoint:
        assert content_digest(checkpoint) == before
        bind(Patch.empty(), checkpoint)
    paths[1].unlink()
    assert f"has no {paths[1].name}; get the model again, with all its files" in told(mlx)


def told(path: Path) -> str:
    """The refusal of a directory; never a number of the system's."""
    with pytest.raises(ModelFormatError) as caught, open_checkpoint(path) as checkpoint:
        checkpoint.tokenizer()
    assert "Errno" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_directory_that_lacks_a_file(mlx: Path, name: str) -> None:
    (mlx / name).unlink()
    assert told(mlx).endswith(f"has no {name}; get the model again, with all its files")


def test_a_shard_of_the_index_that_is_not_there(mlx: Path) -> None:
    index = {name: "model-00001-of-00001.safetensors" for name in load_file(mlx / "model.safetensors")}
    (mlx / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert "has no model-00001-of-00001.safetensors;" in told(mlx)


def test_a_folder_of_gguf_files(tiny_gguf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    assert told(folder).endswith("has no config.json; get the model again, with all its files")
    (folder / "._a.gguf").touch()
    shutil.copy(tiny_gguf, folder / "b.gguf")
    assert told(folder).endswith(f"is a folder of GGUF files; give one, such as {folder / 'b.gguf'}")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "generation_config.json"]
)
def test_a_directory_whose_large_files_were_not_fetched(mlx: Path, name: str) -> None:
    (mlx / name).write_text(POINTER)
    assert told(mlx).endswith(
        f"{mlx / name} is not here yet, only a pointer to it; get it with `git lfs pull`"
    )


def test_a_model_or_patch_that_was_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text(POINTER)
    assert "only a pointer to it; get it with `git lfs pull`" in told(tmp_path / "m.gguf")
    (tmp_path / "p.bankai").write_text(POINTER)
    with pytest.raises(BankaiError, match="only a pointer to it; get it with `git lfs pull`"):
        read_patch(tmp_path / "p.bankai")


def test_hidden_files_are_no_chat_templates(mlx: Path) -> None:
    folder = mlx / "additional_chat_templates"
    (folder / "folder.jinja").mkdir(parents=True)
    (folder / "._tool_use.jinja").write_bytes(b"\0\5\26\7\xff")
    (folder / "tool_use.jinja").write_text("{{ messages }}")
    with open_checkpoint(mlx) as checkpoint:
        assert checkpoint.tokenizer().templates == {"tool_use": "{{ messages }}"}
