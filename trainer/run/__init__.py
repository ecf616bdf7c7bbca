"""What every command shares: flags, exit status and interrupts, files that appear whole, folders.

Read `command`, `config_flags`, `libraries`, `files`, `run_dir`, `progress`, `text`, `errors`.
"""
