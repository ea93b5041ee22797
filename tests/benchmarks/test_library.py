"""The bench of the library: its patches are what it says, it runs, and its verdicts follow the bars."""

from benchmarks import library

from bankai.patch import decode, encode
from bankai.search.settings import SearchSettings


def test_patches_are_those_of_a_large_model() -> None:
    tensors = library.mlp_rows()
    assert sum(tensors.values()) == 1_032_192
    data = library.patch_file(3, tensors)
    patch = decode(data)
    assert len(patch.rows) == len(patch) == library.FLIPS and patch.binding is not None
    assert all(flip.row < tensors[flip.tensor] for flip in patch.flips)
    assert len(encode(patch, manifest=False)) > 200 and len(data) > 550
    assert library.patch_file(4, tensors) != data == library.patch_file(3, tensors)
    assert patch.manifest.strategy == SearchSettings().strategy


def test_it_runs_and_judges() -> None:
    result = library.run(quick=True)
    assert (result["patches"], result["verified"], result["findings"]) == (30, 30, 0)
    assert result["library_bytes"] > result["patch_bytes"] + result["signature_bytes"]
    assert set(result["times"]) == set(library.NAMES)
    assert all(found["low"] > 0 for found in result["times"].values())
    text = library.table(result)
    assert "meets the bar of 1,000,000" in text and "30 signatures verified, 0 findings" in text
    text = library.table(result | {"library_bytes": 1_000_001})
    assert "1,000,001 bytes misses the bar" in text
    slow = result["times"] | {"list": {"median": 0.051, "low": 0.05, "high": 0.06}}
    assert "Listing in 51.0 ms misses the bar of 50." in library.table(result | {"times": slow})
