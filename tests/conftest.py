"""Fixtures shared by all rooms. Session-scoped files are read-only by agreement: copy before changing one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import build_tiny_gguf, tiny_tokenizer
from hybrid import HYBRID
from hypothesis import settings
from wide import WIDE

settings.register_profile("bankai", deadline=None)  # how long an example takes is a matter of the machine
settings.load_profile("bankai")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is kept for another time is kept for this session only; for the processes that tests start, too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder := tmp_path_factory.mktemp("cache")))
        yield folder


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random true 1-bit Qwen3 of 2 layers (see builders.tiny_config)."""
    return build_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def wide_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random true 1-bit Qwen3 of 3 layers with several groups in every row (see wide.WIDE)."""
    return build_tiny_gguf(tmp_path_factory.mktemp("wide") / "wide.gguf", seed=3, **WIDE)


@pytest.fixture(scope="session")
def hybrid_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random true 1-bit hybrid of 4 layers (see hybrid.HYBRID)."""
    path = tmp_path_factory.mktemp("hybrid") / "hybrid.gguf"
    return build_tiny_gguf(path, seed=7, tokenizer=tiny_tokenizer(pre="qwen35"), **HYBRID)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct in its stock Q4_1 GGUF file, for tests marked `engines`."""
    script = Path(__file__).parent.parent / "scripts" / "smollm2.sh"
    found = subprocess.run([script, sys.executable], stdout=subprocess.PIPE, text=True, check=True)
    return Path(found.stdout.strip())
