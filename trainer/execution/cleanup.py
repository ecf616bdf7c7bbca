"""A process that outlives the driver of a cluster on this machine, and removes what it leaves.

If the driver is killed, two of Ray's agents try for a minute to report it, and nobody removes the
folder with what was spilled to the disk. Run by `ray.connected` as a file, with nothing of ours.
"""

import shutil
import sys
import time

import psutil


def main(folder: str, driver: int) -> None:
    """Waits until stdin is closed, by the driver or by its death; then cleans up.

    Args:
        folder: That of the cluster.
        driver: The process that is left alone, if it lives.
    """
    sys.stdin.read()
    for _ in range(20):
        left = [process for process in psutil.process_iter() if _of_cluster(process, folder)]
        left = [process for process in left if process.pid != driver]
        if not left:
            break
        for process in left:
            try:
                process.kill()
            except psutil.Error:  # it has ended meanwhile
                continue
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _of_cluster(process: psutil.Process, folder: str) -> bool:
    """Whether it is of Ray and writes into the folder, as all processes of a cluster do."""
    try:
        if not any("ray" in part for part in process.cmdline()):
            return False
        return any(file.path.startswith(folder + "/") for file in process.open_files())
    except psutil.Error:  # it has ended, or is another user's
        return False


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
