"""The server's side of HTTP: what may be asked, by whom, and what is answered, in the shapes of OpenAI's API.

`bankai.serving.scheduler` stands between it and what computes.
"""
