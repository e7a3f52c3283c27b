"""One graph over many masks, cohorts and seeds, here or on ComfyUI servers, with nothing lost and nothing twice.

`masks` finds mask files and where a graph takes them, `jobs` says what there is to do, `journal` what has happened,
`results` where results lie, `local` and `remote` do the work.
"""
