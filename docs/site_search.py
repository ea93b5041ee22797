"""Search in a site that is read from the disk, where a browser fetches no index and starts no worker.

The index is written once more as a script, which the theme looks for there, and the worker's source into another: from
the disk a worker starts from that text. Served over HTTP nothing changes. A hook of MkDocs; `mkdocs.yml` names it, and
loads the second script.
"""

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

__all__ = ["on_post_build"]

WORKER = "assets/javascripts/workers/search.*.min.js"
SCRIPT = """\
if (location.protocol === "file:") {{
  const source = new Blob([{source}], {{ type: "text/javascript" }});
  const FromFile = window.Worker;
  window.Worker = class extends FromFile {{
    constructor() {{
      super(URL.createObjectURL(source));
    }}
  }};
}}
"""


def on_post_build(config: MkDocsConfig) -> None:
    """Write `search_index.js` and `search_worker.js` beside the index."""
    site = Path(config.site_dir)
    folder = site / "search"
    (worker,) = site.glob(WORKER)
    (folder / "search_index.js").write_text(f"var __index = {(folder / 'search_index.json').read_text()}")
    (folder / "search_worker.js").write_text(SCRIPT.format(source=json.dumps(worker.read_text())))
