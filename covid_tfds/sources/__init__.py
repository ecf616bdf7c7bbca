"""What lies in the user's folder -> image records, and what is left out with its reason.

No pixels are read here. Read `storage` first (files of a folder or a zip), then `kaggle`, `cohen`
and `article` (the public sources), then `own`, `layout` and `own_table` (a user's own images).
"""
