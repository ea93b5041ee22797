"""The model for everybody: bits of one are never seen by another, and nobody is passed over."""

from threading import Event, Thread

import pytest

from bankai.errors import StateError, StudioError, UnknownModelError
from bankai.model import ModelMatrices
from bankai.patch import digest, read_patch
from bankai.patching import apply_patch
from bankai.probes import load_probe_set
from bankai.studio.compare import Asked, compare
from bankai.studio.probes import measure
from bankai.studio.shared import SharedModel, Turns

PROMPT = "What is the derivative of 5x^5 + 2x^4? Answer:"


def bits(shared, names=("elicit", "small")):
    flips = shared.catalog.resolve(names).patch.flips
    return digest(ModelMatrices(shared.bench.model), flips)


def test_patches_are_on_inside_and_off_after(shared):
    base = bits(shared)
    with shared.on(["elicit"]) as model:
        assert model is shared.bench.model
        changed = bits(shared)
    with shared.on(["small", "elicit"]):
        assert len({base, changed, bits(shared)}) == 3
    with shared.on():
        assert bits(shared) == base
    with pytest.raises(ZeroDivisionError), shared.on(["elicit"]):
        raise ZeroDivisionError
    assert bits(shared) == base


@pytest.mark.parametrize("names", [["nobody"], ["elicit", "elicit"], ["../small"]])
def test_unknown_patches_are_refused_and_the_turn_is_free(shared, names):
    with pytest.raises(UnknownModelError), shared.on(names):
        pass
    with shared.on():
        pass


def test_turns_are_given_in_the_order_of_coming():
    turns, order, waiting = Turns(), [], []
    with turns:
        for number in range(8):
            begun = Event()

            def work(number=number, begun=begun):
                begun.set()
                with turns:
                    order.append(number)

            waiting.append(Thread(target=work))
            waiting[-1].start()
            begun.wait()
            while turns._last < number + 2:  # until it waits
                pass
    for thread in waiting:
        thread.join(10)
    assert order == list(range(8))


def test_views_at_once_see_what_each_sees_alone(shared):
    """Three look at the same time, each with other patches, and long work is cut into many turns."""
    probes = load_probe_set("elicitable").split("heldout")[:96]
    kinds = [[], ["elicit"], ["small"]]
    measured = [measure(shared, probes, names) for names in kinds]
    replies = [compare(shared, Asked(PROMPT), names) for names in kinds]
    found = {}

    def look(at, names):
        found[at] = measure(shared, probes, names), compare(shared, Asked(PROMPT), names)

    threads = [Thread(target=look, args=(at, names)) for at, names in enumerate(kinds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [found[at] for at in range(3)] == list(zip(measured, replies, strict=True))


def test_a_patch_put_into_the_library_can_be_switched_on(tmp_path, library, shared):
    copy = tmp_path / "copy"
    copy.write_bytes(library.read_bytes())
    with SharedModel("nano", copy) as other:
        assert other.patch_names() == ("elicit", "small")
        patch = read_patch(library.parent / "small.bankai")
        from bankai.patch import Manifest, Patch, bind, write_patch

        half = bind(Patch.of(list(patch.flips)[:1], Manifest(name="half")), other.base)
        write_patch(half, tmp_path / "half.bankai")
        assert other.keep(tmp_path / "half.bankai") == "half"
        assert other.patch_names() == ("elicit", "half", "small")
        with other.on(["half"]):
            pass
    with SharedModel("nano") as alone, pytest.raises(StudioError, match="--library"):
        alone.keep(tmp_path / "half.bankai")


def test_a_model_with_patches_on_is_refused(tmp_path, library):
    patch = read_patch(library.parent / "small.bankai")
    apply_patch("nano", patch, tmp_path / "patched.gguf")
    with pytest.raises(StateError, match="revert"):
        SharedModel(tmp_path / "patched.gguf", library)
