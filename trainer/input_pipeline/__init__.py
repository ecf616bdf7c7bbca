"""Road one: from a prepared dataset to batches.

Read `prepared` (which datasets are there), `dataset` (what is known of every image), `decode` and
`resize` (from PNG bytes to squares), `alignment` and `pose` (squares that show every chest in one
place), `stages` (the chain from squares to activations), `plan` (which rows a phase reads), `fill`
(which computes those that are missing), `batches`, with `host_tensor` (rows in memory); and
`stress` (validation images in other frames). What is computed is kept by `cache`, with
`cache_files` (opened under locks, errors of the machine), `cache_index` (which row is whose),
`cache_folders` (eviction, checks) and `cache_report` (what a command prints of them). Imports
nothing of models and training.
"""
