"""What computes for a server; each implements `bankai.serving.engine.Engine` and needs its own library."""
