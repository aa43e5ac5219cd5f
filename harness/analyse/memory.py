"""How this process treats memory that it has freed."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8     # parameters of glibc's mallopt(3)
KEPT_BYTES, LARGEST_BYTES = 1 << 28, 1 << 25


def keep_freed() -> None:
    """Keeps up to 256 MiB that were freed for the next arrays, each up to 32 MiB, where the C library can, and lets all
    threads that start later share them: memory of a thread's own would be handed back in any case.

    Runs are read one after the other into arrays of a few MiB. Handed back to the system and asked for again each time,
    they cost a fifth of the analysis's CPU time, in page faults.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(ARENA_MAX, 1)
        mallopt(MMAP_THRESHOLD, LARGEST_BYTES)
        mallopt(TRIM_THRESHOLD, KEPT_BYTES)
