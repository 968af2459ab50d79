"""Ending with the process that started this one, however that one ended: nobody is left behind.

A pipe whose other end only that process holds is at its end when it is gone, also by SIGKILL.
"""

import threading
from collections.abc import Callable
from multiprocessing.connection import wait


def when_gone(lifeline: int, act: Callable[[], None]) -> None:
    """Call a function, in a thread, once the other end of a pipe has been closed.

    >>> import os
    >>> reading, writing = os.pipe()
    >>> gone = threading.Event()
    >>> when_gone(reading, gone.set)
    >>> os.close(writing)
    >>> gone.wait(60)
    True
    >>> os.close(reading)
    """

    def watch() -> None:
        wait([lifeline])
        act()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
