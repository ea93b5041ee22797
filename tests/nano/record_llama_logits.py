"""Record next-token logits of nano from stock llama.cpp, so that `make test` has a witness without compiling it.

    python tests/nano/record_llama_logits.py        # needs bankai[llama]

Writes, for base and patched nano, the float16 logits after every token of a sample of probes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sample import PATCH, RECORDED, probe_sample

from bankai.evaluation.engines import LlamaEngine
from bankai.patch import read_patch
from bankai.patching import apply_patch
from bankai.probes.encode import encode

STEP = 90


def recordings(model: str | Path) -> Iterator[NDArray[np.float16]]:
    engine = LlamaEngine(model)
    for probe in probe_sample(STEP):
        yield engine.logits(encode(probe, engine.tokenizer)[0].ids).astype(np.float16)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        patched = Path(folder) / "patched.gguf"
        apply_patch("nano", read_patch(PATCH), patched)
        base_logits = np.concatenate(list(recordings("nano")))
        patched_logits = np.concatenate(list(recordings(patched)))
    np.savez_compressed(RECORDED, base=base_logits, patched=patched_logits)
    print(f"{RECORDED}: {len(base_logits)} positions each, {RECORDED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
