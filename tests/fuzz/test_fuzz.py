"""The short fuzz: files with a sound structure and lies in it, and sound and hostile files with bytes changed.

The long one, guided by coverage, is `make fuzz`.
"""

import struct
import tracemalloc
from collections.abc import Iterator

import hostile
import pytest
from fuzz.readers import READERS, check
from fuzz.seeds import seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])

# What lengths, counts, offsets and types are wrong in: borders of their types, and just beside them.
EDGES = st.sampled_from(
    [0, 1, 4, 8, 31, 41, 255, 1 << 16, (1 << 31) - 1, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1]
)
NAMES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([b"general.alignment", b"general.architecture", b"token_embd.weight"]),
)


@pytest.fixture(autouse=True, scope="module")
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", READERS)
def test_the_files_that_fuzzing_starts_from(name: str) -> None:
    for data in seeds(name):
        check(READERS[name], data)


def _text(data: st.DataObject) -> bytes:
    content = data.draw(NAMES)
    return struct.pack("<Q", data.draw(st.just(len(content)) | EDGES)) + content


def _value(data: st.DataObject, kind: int, depth: int = 0) -> bytes:
    if kind == hostile.STRING:
        return _text(data)
    if kind != hostile.ARRAY or depth == 6:
        return data.draw(st.binary(min_size=1, max_size=8))
    item, count = data.draw(st.integers(0, 13)), data.draw(st.integers(0, 2))
    items = b"".join(_value(data, item, depth + 1) for _ in range(count))
    return hostile.array(item, data.draw(st.just(count) | EDGES), items)


def _tensor(data: st.DataObject) -> bytes:
    shape = data.draw(st.lists(st.sampled_from([1, 4, 128]) | EDGES, max_size=4))
    numbers = struct.pack(f"<I{len(shape)}Q", data.draw(st.just(len(shape)) | st.just(1 << 31)), *shape)
    kind = data.draw(st.sampled_from([0, 1, 8, 30, 41]) | st.integers(0, (1 << 32) - 1))
    return _text(data) + numbers + struct.pack("<IQ", kind, data.draw(st.sampled_from([0, 32, 64]) | EDGES))


@QUICK
@given(st.data())
def test_gguf_with_lies(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.integers(0, 13), max_size=3))
    pairs = [_text(data) + struct.pack("<I", kind) + _value(data, kind) for kind in kinds]
    tensors = [_tensor(data) for _ in range(data.draw(st.integers(0, 3)))]
    counts = data.draw(st.none() | st.tuples(EDGES, EDGES))
    check(READERS["gguf"], hostile.gguf(pairs, tensors, bytes(200), counts=counts))


def _changed(data: st.DataObject, name: str) -> bytes:
    """A seed after a few changes: bytes set, taken out, doubled, or those of another seed put in."""
    changed = bytearray(data.draw(st.sampled_from(seeds(name))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed)))
        end = min(len(changed), at + data.draw(st.sampled_from([1, 2, 4, 8, 40])))
        match data.draw(st.sampled_from(["set", "number", "remove", "double", "splice"])):
            case "set":
                changed[at:end] = data.draw(st.binary(min_size=end - at, max_size=end - at))
            case "number":
                changed[at : at + 8] = struct.pack("<Q", data.draw(EDGES))
            case "remove":
                del changed[at:end]
            case "double":
                changed[at:at] = changed[at:end]
            case "splice":
                changed[at:end] = data.draw(st.sampled_from(seeds(name)))[at : at + 100]
    return bytes(changed)


@pytest.mark.parametrize("name", READERS)
@QUICK
@given(data=st.data())
def test_changed_files(name: str, data: st.DataObject) -> None:
    check(READERS[name], _changed(data, name))
