"""Benchmarks: ratios measured side by side in one run, on `nano` and on the shapes of large models.

`python -m benchmarks` runs them; every bench is a module with `run(quick) -> dict` of plain JSON values and
`table(result) -> str` of markdown. Only the numbers of one run are compared with one another.
"""
