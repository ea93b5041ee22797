"""Patches on the engines of others, in this process: MLX arrays (`mlx_arrays`), llama-cpp-python (`llama_lora`).

Each module needs its engine and nothing else; neither imports torch, for which `bankai.model.patched` is there.
"""
