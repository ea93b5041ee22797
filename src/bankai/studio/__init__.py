"""The studio: a page on which to see what a patch does, and to search for one.

`shared` holds the model for everybody who looks. Each view has a module that computes: `compare`, `probes`, `maps`,
`runs`, `searches`. `html` and `plots` turn their values into markup, `page` puts them together. Computing needs the
`[search]` extra, the page `[studio]`.
"""
