"""Bytes over a socket, and every answer that comes back: for what no HTTP client would send."""

import re
import socket
import time
from pathlib import Path

import psutil

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n")
FIRST_S, IDLE_S = 30.0, 0.6
"""So long a first byte is waited for, and so long after the last one the next."""


def talk(port, *pieces, most_s=40.0):
    """Everything that is answered to some bytes, until the server closes or stays silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=most_s) as line:
        try:
            for piece in pieces:
                line.sendall(piece)
        except OSError:
            pass  # refused while it was still being sent
        answer, until = b"", time.monotonic() + most_s
        line.settimeout(FIRST_S)
        try:
            while (piece := line.recv(65536)) and time.monotonic() < until:
                answer += piece
                line.settimeout(IDLE_S)
        except OSError:
            pass
    return answer


def statuses(answer):
    """The status of every answer in what came back, in order; a body of ours never holds a status line."""
    return [int(found) for found in _STATUS.findall(answer)]


def head(method, target, *lines, version="HTTP/1.1", host="host: x"):
    """The head of a request, its lines as they are."""
    said = [f"{method} {target} {version}".rstrip(), *([host] if host else []), *lines, "", ""]
    return "\r\n".join(said).encode("latin-1")


def family(server):
    """The server's process and every process that it has begun."""
    whole = psutil.Process(server.process.pid)
    return [whole, *whole.children(recursive=True)]


def sockets(server):
    """What the server's processes hold: addresses listened on, addresses connected to, and other kinds of socket."""
    listening, connected, others = set(), set(), set()
    for process in family(server):
        for one in process.net_connections(kind="all"):
            if one.family == socket.AF_UNIX:
                others |= {("unix", one.laddr)} if one.laddr else set()
            elif one.type == socket.SOCK_DGRAM:
                others.add(("udp", one.laddr))
            elif one.status == psutil.CONN_LISTEN:
                listening.add(tuple(one.laddr))
            elif one.raddr and one.laddr.port != server.port:
                connected.add(tuple(one.raddr))
    return listening, connected, others


def memory_of(server):
    """Megabytes that the server's process holds in memory."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
