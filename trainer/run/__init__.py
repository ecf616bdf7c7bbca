"""What every command shares: flags, exit status and interrupts, files that appear whole, folders.

Read `command` with `definitions` and `help` (flags), `names`, `given` (paths), `process`,
`libraries`, `files`, `machine`, `saved_state`, `saved_folds`, `lease`, `manifest`, `run_folder`,
`run_dir`, `progress`, `text`, `laps`, `records`, `errors`.
"""
