"""Patches on the engines of others, in this process, and a server that gives every request the patch that it asks for.

On engines of others: MLX arrays (`mlx_arrays`), llama-cpp-python (`llama_lora`); each needs its engine and nothing
else. The server: HTTP (`http`), which patches there are (`catalog`), and who computes next (`scheduler`) on an `engine`
(those in `engines`). Tokens are chosen and become text in `bankai.model.generation`.
"""
