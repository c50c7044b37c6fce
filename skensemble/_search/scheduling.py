"""Functions that take turns: each runs until it asks for something, and then all requests are answered together.

Each has its own thread, of which only one runs at any time, so the functions need not be thread-safe.
"""

import contextvars
import ctypes
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from skensemble._compat.global_seeds import keras_settings


class Abandoned(BaseException):
    """Raised where a function waits for an answer that will not come."""


def take_turns(
    functions: Sequence[Callable[[], Any]],
    answer: Callable[[list], Sequence],
    asked: contextvars.ContextVar,
    most_bytes: int,
) -> list["Turn"]:
    """Run functions to their ends.

    Parameters
    ----------
    functions : list of callable
    answer : callable
        Takes a list of requests, each with `n_bytes` and with `seconds`, the time that answering took; returns a list
        of answers. An answer that is an exception is raised where it was asked for.
    asked : ContextVar
        Holds the function by which one of the functions asks, in its own context.
    most_bytes : int
        Further functions begin only while the requests that wait have fewer bytes.

    Raises
    ------
    BaseException
        From the first function that raises; the others are then abandoned.
    """
    turns = [Turn(function, asked) for function in functions]
    fresh, waiting = deque(turns), list[Turn]()
    try:
        while fresh or waiting:
            n_bytes = sum(turn.request.n_bytes for turn in waiting)
            while fresh and n_bytes < most_bytes:
                turn = fresh.popleft()
                if turn.goes_on():
                    waiting.append(turn)
                    n_bytes += turn.request.n_bytes
            asking, waiting = waiting, []
            answers = answer([turn.request for turn in asking]) if asking else []
            waiting = [turn for turn, answered in zip(asking, answers, strict=True) if turn.goes_on(answered)]
    except BaseException:
        for turn in turns:
            turn.abandon()
        raise
    return turns


class Turn:
    """One of the functions, in its thread.

    Attributes
    ----------
    request : object
        What it asks for now.
    result : object
        What it returned.
    waited, answered : float
        Seconds that it has waited for answers, and how many of them answering took.
    """

    def __init__(self, function: Callable[[], Any], asked: contextvars.ContextVar) -> None:
        self._context = contextvars.copy_context()
        self._context.run(asked.set, self._ask)
        self._function, self._take_settings = function, keras_settings()
        self._answers: SimpleQueue = SimpleQueue()
        self._news: SimpleQueue = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._warnings: tuple | None = None
        self._error: BaseException | None = None
        self.request: Any = None
        self.result: Any = None
        self.waited = self.answered = 0.0

    def goes_on(self, answer: Any = None) -> bool:
        """Let it run until it asks or ends, and return whether it asks."""
        ours = warnings.filters, warnings.showwarning
        if self._warnings is not None:
            # `catch_warnings` of this thread has replaced them, which all threads share.
            warnings.filters, warnings.showwarning = self._warnings
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._answers.put(answer)
        try:
            has_ended = self._wait()
        finally:
            self._warnings = warnings.filters, warnings.showwarning
            warnings.filters, warnings.showwarning = ours
        if has_ended:
            self._thread.join()
            if self._error is not None:
                raise self._error
        return not has_ended

    def abandon(self) -> None:
        """End it where it waits."""
        if self._thread.ident is not None and self._thread.is_alive():
            try:
                while self.goes_on(Abandoned()):
                    pass
            except BaseException:
                pass  # of a function that is given up

    def _wait(self) -> bool:
        """Wait until it asks or ends; an interrupt is passed on to it."""
        try:
            return self._news.get()
        except BaseException as error:
            thread = ctypes.c_ulong(self._thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(type(error)))
            while not self._news.get():
                self._answers.put(Abandoned())
            raise

    def _run(self) -> None:
        self._take_settings()
        try:
            self.result = self._context.run(self._function)
        except BaseException as error:
            self._error = error
        del self._function
        self._news.put(True)

    def _ask(self, request: Any) -> Any:
        self.request = request
        began = time.time()
        self._news.put(False)
        answer = self._answers.get()
        self.waited += time.time() - began
        self.answered += request.seconds
        self.request = None
        if isinstance(answer, BaseException):
            raise answer
        return answer
