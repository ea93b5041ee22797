"""Patches on the engines of others, in this process, and a server that gives every request the patch that it asks for.

On engines of others: MLX arrays (`mlx_arrays`), llama-cpp-python (`llama_lora`); each needs its engine and nothing
else. The server: HTTP (`http`), which patches there are (`catalog`), who computes next (`scheduler`) on an `engine`
(those in `engines`), and tokens to text (`sampling`, `text`). Nothing but the `torch_*` modules imports torch.
"""
