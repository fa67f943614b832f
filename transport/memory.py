"""Settings of the C library for the memory that large messages leave behind."""

import ctypes

# <malloc.h>
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
# The most that glibc takes.
_LARGEST_FROM_HEAP = 32 * 2**20


def keep_freed(size: int = 128 * 2**20) -> bool:
    """Lets the process keep up to `size` freed bytes, instead of giving them back to the system after each message.

    For a server of messages of 100 kB and more: otherwise each of them takes its pages from the kernel anew, zeroed and
    one fault each, which costs more than all else about it. Returns whether this C library can, as glibc does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_FROM_HEAP) and mallopt(_TRIM_THRESHOLD, size))
