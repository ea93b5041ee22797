"""What probes say about a model: scores, paired comparison, other engines. Import from the modules."""

__all__: list[str] = []
