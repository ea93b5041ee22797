"""The loaded model against two independent forward passes, and as a Hugging Face citizen."""

import builders
import numpy as np
import pytest
import torch
from model import numpy_qwen3
from transformers import Qwen3Config, Qwen3ForCausalLM

from bankai.checkpoint.model_file import open_checkpoint
from bankai.errors import DeviceError, ModelFormatError, UnknownTensorError
from bankai.model import Linear, ModelMatrices, WeightMatrix, flip, load
from bankai.model.matrices import DenseMatrix, PackedMatrix
from bankai.patch import Flip
from bankai.patch.binding import digest, fingerprint

# Both ends of YaRN's ramp lie inside the 32 pairs of a head.
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096}
VARIANTS = {"untied": {}, "tied": {"tie_word_embeddings": True}, "yarn": {"rope_parameters": YARN}}
# Activations here are of order 1 to 10; float32 sums of 128 to 256 terms in another order stay far below.
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=VARIANTS)
def path(request, tmp_path_factory):
    target = tmp_path_factory.mktemp(request.param) / "tiny.gguf"
    return builders.build_tiny_gguf(target, seed=3, **VARIANTS[request.param])


def random_ids(count=100):
    return np.random.default_rng(0).integers(0, 300, count)


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor(ids)[None]).logits[0].numpy()


def test_agrees_with_plain_numpy(path):
    ids = random_ids()
    with open_checkpoint(path) as checkpoint:
        expected = numpy_qwen3.forward(checkpoint, ids)
    found = logits(load(path)[0], ids)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)


def test_agrees_with_stock_transformers_on_dequantized_weights(path):
    with open_checkpoint(path) as checkpoint:
        stock = Qwen3ForCausalLM(Qwen3Config(**checkpoint.config)).eval()
        state = {
            f"{n}.weight": torch.from_numpy(checkpoint.packed(n).to_dense()) for n in checkpoint.matrices
        }
        state |= {f"{n}.weight": torch.tensor(checkpoint.vector(n)) for n in checkpoint.vectors}
        missing, unexpected = stock.load_state_dict(state, strict=False)
    stock.tie_weights()
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    ids = random_ids()
    np.testing.assert_allclose(logits(load(path)[0], ids), logits(stock, ids), atol=TOLERANCE, rtol=0)


def test_dense_copy_changes_no_bit_of_the_logits(path):
    ids = random_ids(20)
    dense = load(path, dense=True)[0]
    assert {type(m) for m in dense.modules() if isinstance(m, WeightMatrix)} == {DenseMatrix}
    assert {type(m) for m in load(path)[0].modules() if isinstance(m, WeightMatrix)} == {PackedMatrix}
    assert np.array_equal(logits(load(path)[0], ids), logits(dense, ids))


def test_nothing_but_norms_is_a_parameter_and_nothing_trains(path):
    model, _ = load(path)
    parameters = dict(model.named_parameters())
    assert parameters and all("norm" in name for name in parameters)
    assert not any(p.requires_grad for p in parameters.values())
    assert not model.training
    assert not [name for name, buffer in model.named_buffers() if buffer.is_meta]


def test_generate_batches_as_it_generates_alone(path):
    model, tokenizer = load(path)
    texts = ["the answer is", "what number equals the question of the answer"]
    batch = model.generate(
        **tokenizer(texts, return_tensors="pt", padding=True), max_new_tokens=8, do_sample=False
    )
    for row, text in zip(batch, texts, strict=True):
        alone = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=8, do_sample=False)[0]
        assert row[-8:].tolist() == alone[-8:].tolist()


def test_cached_and_whole_forward_agree(path):
    model, _ = load(path)
    ids = torch.tensor(random_ids(30))[None]
    with torch.no_grad():
        first = model(ids[:, :20], use_cache=True)
        rest = model(ids[:, 20:], past_key_values=first.past_key_values).logits
        torch.testing.assert_close(rest, model(ids).logits[:, 20:], atol=TOLERANCE, rtol=0)


def test_tied_head_shares_the_packed_tensor(tmp_path):
    model, _ = load(builders.build_tiny_gguf(tmp_path / "tied.gguf", tie_word_embeddings=True))
    assert isinstance(model.lm_head, Linear)
    assert model.lm_head.matrix is model.model.embed_tokens.matrix
    assert "lm_head" not in ModelMatrices(model).matrices
    ids = random_ids(10)
    before = logits(model, ids[ids != 5])
    flip(model, [Flip("model.embed_tokens", 5)])
    after = logits(model, ids[ids != 5])
    before[:, 5] *= -1
    assert np.array_equal(after, before)


def test_bfloat16_runs_close_to_float32(path):
    ids = random_ids(10)
    low = load(path, dtype=torch.bfloat16)[0]
    assert low(torch.tensor(ids)[None]).logits.dtype == torch.bfloat16
    with torch.no_grad():
        found = low(torch.tensor(ids)[None]).logits.float()[0].numpy()
    # bfloat16 keeps 8 bits; through two layers errors of a few percent of the range are expected.
    full = logits(load(path)[0], ids)
    assert np.abs(found - full).max() < 0.1 * np.abs(full).max()


def test_model_and_file_agree_on_names_fingerprint_and_digest(path):
    tensors = ModelMatrices(load(path)[0])
    flips = [Flip("model.layers.1.mlp.up_proj", 7), Flip("model.layers.0.mlp.down_proj", 3, 1)]
    with open_checkpoint(path) as checkpoint:
        assert tensors.matrices == checkpoint.matrices
        assert fingerprint(tensors) == fingerprint(checkpoint)
        assert digest(tensors, flips) == digest(checkpoint, flips)


def test_blocks_follow_flips(path):
    model, _ = load(path)
    tensors, name = ModelMatrices(model), "model.layers.0.mlp.up_proj"
    before = tensors.packed(name)
    flip(model, [Flip(name, 4)])
    expected = before.blocks.copy()
    expected[4] ^= before.quantization.mask
    assert np.array_equal(tensors.packed(name).blocks, expected)
    assert np.array_equal(tensors.packed(name, [4, 1]).blocks, expected[[4, 1]])
    with pytest.raises(UnknownTensorError):
        tensors.packed("model.layers.9.mlp.up_proj")


def test_model_outlives_its_file(tmp_path):
    target = builders.build_tiny_gguf(tmp_path / "tiny.gguf")
    model, _ = load(target)
    before = logits(model, random_ids(5))
    target.write_bytes(bytes(target.stat().st_size))
    assert np.array_equal(logits(model, random_ids(5)), before)


@pytest.mark.parametrize("device", ["cuda:99", torch.device("cuda", 99)])
def test_a_device_that_is_not_there_is_refused(tmp_path, device):
    with pytest.raises(DeviceError, match="no device cuda:99 "):
        load(tmp_path / "not even a file.gguf", device=device)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelFormatError):
        load(tmp_path / "absent.gguf")
