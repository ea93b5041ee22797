"""The unpacked model that PEFT adapters are for: plain Hugging Face modules in float32."""

from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from bankai.checkpoint.model_file import open_checkpoint


def unpacked(source: str | Path) -> Qwen3ForCausalLM:
    """The model of a file with an ``nn.Linear`` or ``nn.Embedding`` for each weight matrix."""
    with open_checkpoint(source) as checkpoint:
        model = Qwen3ForCausalLM(Qwen3Config(**checkpoint.config, dtype=torch.float32))
        weights = {name: checkpoint.packed(name).to_dense() for name in checkpoint.matrices}
        weights |= {name: np.array(checkpoint.vector(name)) for name in checkpoint.vectors}
        loaded = {f"{name}.weight": torch.from_numpy(weight) for name, weight in weights.items()}
        model.load_state_dict(loaded, strict=not checkpoint.config["tie_word_embeddings"])
    return model.eval()
