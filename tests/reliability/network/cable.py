"""Networks of a process's own: namespaces that end with it, and cables between them that carry packets, or lose them.

A namespace has no name, no address that anybody else could have, and no way out but the cables; so nothing of it is
left, however the process ends. A cable is a device in each of two namespaces and this process in between: what it does
to packets needs nothing of the kernel but that.
"""

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from random import Random
from threading import Thread
from typing import Final

from tests.waiting import until

_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_TUN_WITHOUT_HEADER: Final = 0x1001
_SIOCSIFADDR: Final = 0x8916
_SIOCSIFNETMASK: Final = 0x891C
_SIOCSIFFLAGS: Final = 0x8914
_UP: Final = 0x1

_PACKETS_AT_A_TIME: Final = 50
_MOST_BYTES: Final = 65_536


def enter_new_network() -> None:
    """This thread, and all that it starts from now on. Raises OSError where that is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network namespace of its own")


def device(name: str, address: str) -> int:
    """A new device in this thread's namespace, up, with an address; what it is sent is read here. Raises OSError."""
    opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(opened, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, value in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.0")):
            packed = struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, request, packed)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), _UP))
    return opened


class Cable:
    """Between two devices. Packets go in a loop of their own; everything else may be asked in any."""

    def __init__(self, near: int, far: int, chance: Random) -> None:
        self.loss = 0.0
        """So many of the packets are lost."""
        self.latency = 0.0
        """Each takes any time up to that, so that they come out of order."""
        self.dead = (False, False)
        """Away from here, and back: nothing arrives, and nobody is told."""
        self.lost = 0
        self._ends = (near, far)
        self._chance = chance

    def plug_into(self, loop: asyncio.AbstractEventLoop) -> None:
        for place, end in enumerate(self._ends):
            loop.add_reader(end, self._carry, place)

    async def fail(self, chance: Random, seconds: float) -> str:
        kind = chance.choice(("lossy cables", "cables out of order", "dead cables"))
        if kind == "lossy cables":
            self.loss = 0.3 * chance.random()
        elif kind == "cables out of order":
            self.latency = 0.2 * chance.random()
        else:
            self.dead = chance.choice(((True, True), (True, False), (False, True)))
        await asyncio.sleep(seconds)
        self.work()
        return kind

    def die(self) -> None:
        """In both directions."""
        self.dead = (True, True)

    def work(self) -> None:
        self.loss, self.latency, self.dead = 0.0, 0.0, (False, False)

    async def mend(self) -> None:
        """Returns when nothing is on its way any more that a closed connection has left to the kernel."""
        self.work()
        await until(lambda: not _left_to_the_kernel(), "what closed connections sent has arrived")

    def _carry(self, place: int) -> None:
        for _ in range(_PACKETS_AT_A_TIME):
            try:
                packet = os.read(self._ends[place], _MOST_BYTES)
            except BlockingIOError:
                return
            if self.dead[place] or self._chance.random() < self.loss:
                self.lost += 1
            elif self.latency:
                delay = self.latency * self._chance.random()
                asyncio.get_running_loop().call_later(delay, self._deliver, 1 - place, packet)
            else:
                self._deliver(1 - place, packet)

    def _deliver(self, place: int, packet: bytes) -> None:
        try:
            os.write(self._ends[place], packet)
        except OSError:
            self.lost += 1


def carry(cables: Iterable[Cable]) -> None:
    """In a thread, until the process ends: who judges a history keeps its loop busy for longer than a server waits."""
    loop = asyncio.new_event_loop()
    for cable in cables:
        cable.plug_into(loop)
    Thread(target=loop.run_forever, name="cables", daemon=True).start()


def _left_to_the_kernel() -> bool:
    """Whether a socket of this network belongs to nobody and still has something to send."""
    for line in Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        queues, inode = line.split()[4], line.split()[9]
        if inode == "0" and not queues.startswith("00000000:"):
            return True
    return False
