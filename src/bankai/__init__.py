"""XOR patches for true 1-bit language models."""
