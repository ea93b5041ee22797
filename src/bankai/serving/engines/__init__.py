"""What computes for a server; each implements `bankai.serving.engine.Engine` and needs its own library.

Does not know: HTTP, text, how a token is chosen.
"""
