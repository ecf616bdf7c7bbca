"""What this process takes of the machine's memory."""

import psutil


def resident() -> float:
    """MiB of memory that are held now."""
    return psutil.Process().memory_info().rss / 2**20
