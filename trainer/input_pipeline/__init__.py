"""Road one: from a prepared dataset to batches.

Read `dataset` (what is known of every image), `decode`, `batches`.
"""
