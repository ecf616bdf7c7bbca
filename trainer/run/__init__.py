"""What every command shares: flags, exit status and interrupts, files that appear whole, folders.

Read `command`, `files`, `run_dir`, `errors`.
"""
