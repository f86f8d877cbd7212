"""Hashes of Redis, read on the event loop over connections that stay in hand.

redis-py's pool takes as long to hand a connection out and back as Redis takes to answer. A gateway reads once for every
request, so here a connection is taken from the pool once and kept.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Connection, Redis

Hash = tuple[bytes, Sequence[bytes | str]]
"""A key, and the fields that are wanted."""


class Hashes:
    """Reads over as many connections as there are reads at once. Belongs to one event loop."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._idle: list[Connection] = []

    async def read(self, asked: Sequence[Hash]) -> list[list[bytes | None]]:
        """The fields' values, hash by hash, in one round trip. The caller sets the time limit.

        Raises:
            redis.RedisError: Redis cannot be reached, or refuses.
        """
        import hiredis
        from redis.exceptions import ConnectionError as Lost

        data = b"".join(hiredis.pack_command(("HMGET", key, *fields)) for key, fields in asked)  # type: ignore[arg-type]
        connection = self._idle.pop() if self._idle else await self._open()
        try:
            try:
                return await _answers(connection, data, len(asked))
            except Lost:  # Redis was restarted meanwhile: once more, over a connection that is new
                return await _answers(connection, data, len(asked))
        finally:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            await connection.disconnect()
        await self._client.aclose()

    async def _open(self) -> "Connection":
        connection = await self._client.connection_pool.get_connection()
        connection.socket_timeout = None  # it costs a task for every write
        return connection


async def _answers(connection: "Connection", data: bytes, count: int) -> list[list[bytes | None]]:
    """Ask, over a connection that connects if it has to, and that is closed where an answer is still under way."""
    try:
        await connection.send_packed_command([data], check_health=False)
        return [await connection.read_response() for _ in range(count)]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
