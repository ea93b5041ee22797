"""How the weights of a tensor are stored, and which bits negate them."""
