"""A PostgreSQL of its own for a test: a cluster in a folder, started, killed and started again."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest


def programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is not installed: make setup-full")
    return found[-1].parent


def as_server_user(*words):
    """PostgreSQL will not run as root; its Debian package brings a user of its own."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    return subprocess.run([*user, *map(str, words)], check=True, capture_output=True, cwd="/")


class Cluster:
    """One cluster; ``url`` is its address."""

    def __init__(self):
        self.programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="ennakko-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = self.folder / "data"
        as_server_user(self.programs / "initdb", "-D", self.data, "-U", "ennakko", "-A", "trust", "--no-sync")
        self.url = f"postgresql+psycopg://ennakko@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._control("-w", "-l", self.folder / "log", "-o", options, "start")

    def kill(self):
        self._control("-m", "immediate", "stop")

    def remove(self):
        if (self.data / "postmaster.pid").exists():
            self.kill()
        shutil.rmtree(self.folder)

    def _control(self, *words):
        as_server_user(self.programs / "pg_ctl", "-D", self.data, *words)
