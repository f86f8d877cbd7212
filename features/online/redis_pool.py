"""Reads Redis hashes on the event loop over connections that are kept open.

redis-py's pool takes as long to lend and return a connection as Redis takes to answer. A gateway reads once per
request, so here a connection is taken from the pool once and kept.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Connection, Redis

HashFields = tuple[bytes, Sequence[bytes | str]]
"""The key of a hash, and the fields to read."""


class HashReader:
    """Reads with one connection per concurrent read. Belongs to one event loop."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._idle: list[Connection] = []

    async def read(self, hashes: Sequence[HashFields]) -> list[list[bytes | None]]:
        """The values of the fields of each hash, in one round trip and without a time limit."""
        import hiredis
        from redis.exceptions import ConnectionError as ConnectionLost

        data = b"".join(hiredis.pack_command(("HMGET", key, *fields)) for key, fields in hashes)  # type: ignore[arg-type]
        connection = self._idle.pop() if self._idle else await self._client.connection_pool.get_connection()
        connection.socket_timeout = None  # a timeout costs one task per write
        try:
            try:
                return await _replies(connection, data, len(hashes))
            except ConnectionLost:  # Redis was restarted: try once more, with a new connection
                return await _replies(connection, data, len(hashes))
        finally:
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            await connection.disconnect()
        await self._client.aclose()


async def _replies(connection: "Connection", data: bytes, count: int) -> list[list[bytes | None]]:
    """Send the commands and read the replies; closes the connection if a reply is still outstanding."""
    try:
        await connection.send_packed_command([data], check_health=False)
        return [await connection.read_response() for _ in range(count)]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
