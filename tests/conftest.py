"""Fixtures shared by all rooms. Session-scoped files are read-only by agreement: copy before changing one."""

from pathlib import Path

import pytest
from builders import build_tiny_gguf


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random true 1-bit Qwen3 of 2 layers (see builders.tiny_config)."""
    return build_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
