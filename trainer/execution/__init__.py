"""Runs tasks (trials, folds, fills of the cache) in this process, or in many with Ray.

Read `tasks` (what a task is, and how one ends), `options` (the flags), `local` (one task after the
other, here), `ray` (a cluster on this machine, or one that is there) with `cleanup` (what is left
of it when the driver is killed), `ray_executor` (the driver's side of tasks) and `worker` (the
other side), `sharing` (how a worker comes by the dataset, the weights
and the cached rows), `caching` (fills the cache, and no more).
"""
