"""Limits that the programs of all backends keep to: cores, bytes in memory, length of segments."""

import os

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: X of more bytes than this stays on the host (a memory map, say), where batches are gathered.
RESIDENT_BYTES = 256 * 2**20
#: Epochs whose row orders are passed at once: at most this many epochs, and at most this many bytes of orders.
SEGMENT_EPOCHS, SEGMENT_BYTES = 64, 4 * 2**20
#: With this many trainable values or more in all, members are spread over several cores or devices.
MIN_SHARED_VALUES = 2 * 10**5
#: Members with fewer rows wait for those with the most; at least this share of the steps must not be waiting.
MIN_SHARE_OF_ROWS = 0.5


def epochs_at_once(order_bytes: int) -> int:
    """Number of epochs whose row orders, of so many bytes each, are passed at once."""
    return max(1, min(SEGMENT_EPOCHS, SEGMENT_BYTES // order_bytes))
