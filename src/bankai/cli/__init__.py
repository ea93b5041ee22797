"""The command line: each command parses, calls one library function and prints.

`main` is the entry point. A module per command or small group, imported only when that command runs, and
heavy libraries only inside the function: `bankai info` must start as fast as an empty Typer app. Errors are
one line on stderr and exit code 2, with `--json` too (stdout then stays empty). Nothing here computes.
"""
