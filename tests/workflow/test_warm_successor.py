"""A heavy parent's successor serves once it has loaded more; one that fails, or ends, costs no request."""

import os
import signal
import socket
import threading
import time

import pytest
from warm_jobs import comes, gone

from kopt.warm.parent import State, _accept, _Heavy
from kopt.warm.stale import Files

LOADED = []


class Telling(_Heavy):
    """Tells each client what it has loaded, and its pid, in place of forking a job."""

    def _answer(self, listener, others=()):
        if connection := _accept(listener):
            with connection:
                connection.sendall(f"{len(LOADED)} {os.getpid()}".encode())


class Parent:
    """A heavy parent in a process of its own."""

    def __init__(self, path, *later):
        self.path = str(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path)
        listener.listen(8)
        listener.setblocking(False)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                state = State("", "", os.getpid(), os.stat("/"), Files({}), {}, [], "")
                Telling(state, [lambda: LOADED.append("torch"), *later], listener).serve()
            finally:
                os._exit(1)
        listener.close()

    def ask(self):
        """How much the process that answers has loaded, and its pid."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(self.path)
            loaded, pid = connection.recv(100).decode().split()
        return int(loaded), int(pid)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def parent(tmp_path):
    made = []

    def make(*later):
        made.append(Parent(tmp_path / "socket", *later))
        return made[0]

    yield make
    for one in made:
        one.end()


def load():
    LOADED.append("more")


def start_thread():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def fail():
    raise RuntimeError("no such module")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_has_loaded_most_serves_and_its_parent_again_when_it_ends(parent):
    first = parent(load, load)
    assert comes(lambda: first.ask()[0] == 3)
    _, pid = first.ask()
    assert pid != first.pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert first.ask()[0] == 2


@pytest.mark.parametrize("later", [start_thread, fail, die])
def test_a_successor_that_fails_costs_nothing(parent, later):
    first = parent(later, load)
    for _ in range(20):
        assert first.ask() == (1, first.pid)
        time.sleep(0.02)
