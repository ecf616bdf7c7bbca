"""What every command shares: flags, exit status and interrupts, files that appear whole, folders.

Read `command`, `libraries`, `files`, `saved_state`, `saved_folds`, `lease`,
`manifest`, `run_folder`, `run_dir`, `progress`, `text`, `errors`.
"""
