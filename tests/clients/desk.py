"""The worked example as a process: a desk that is told commands, and answers each."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

_SECONDS: Final = 40


class Desk:
    """Open for the length of a block. Its inventory is a file of its folder."""

    def __init__(self, command: Sequence[str], target: str, name: str, folder: Path) -> None:
        self._command = (*command, target, name)
        self._folder = folder
        self.name = name

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=self._folder, stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert await self._line() == f"{self.name} is open"
        return self

    async def __aexit__(self, *_: object) -> None:
        """It ends by itself when its input does."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_SECONDS):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                self.kill()
            self.exit_code = await self._process.wait()

    def kill(self) -> None:
        self._process.kill()

    def tell(self, command: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n".encode())

    async def ask(self, command: str) -> str:
        """Its answer, of one line."""
        self.tell(command)
        return await self._line()

    async def inventory(self) -> list[str]:
        """All lines of it."""
        lines = [await self.ask("inventory")]
        while not lines[-1].endswith((" tools", "1 tool")):
            lines.append(await self._line())
        return lines

    async def complaint(self) -> str:
        """What it says on stderr until it ends."""
        assert self._process.stderr
        async with asyncio.timeout(_SECONDS):
            return (await self._process.stderr.read()).decode()

    async def answer(self) -> str:
        """To what it was told."""
        return await self._line()

    async def _line(self) -> str:
        assert self._process.stdout
        async with asyncio.timeout(_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"{self.name} has ended: {await self.complaint()}")
        return line.decode().removesuffix("\n").removesuffix("\r")
