"""Model files in and out: GGUF files and MLX directories with their tokenizers, opened, converted and made.

Readers never write.
"""
