"""Long jobs from files to results: searches, the demo, audits, probe sets from failures.

Nothing here prints; progress goes to a listener. One module per job; `task` and `workbench` are what they share, and
`planning` tells what a search would take.
"""
