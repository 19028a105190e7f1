"""The channel of a client for threads, opened by the first call, and another one in each forked process.

Written by hand, as is `canuse._async.connection`: this is where the two clients differ.
"""

from collections.abc import Callable

from canuse import _fork
from canuse._sync.channel import Channel
from canuse._sync.stubs import Stubs
from canuse.errors import closed_before_call


class Connections:
    """The channel of a client in this process, or the one that its caller passed in."""

    def __init__(
        self, open_channel: Callable[[], Channel], channel: Channel | None, make_stubs: Callable[[Channel], Stubs]
    ) -> None:
        self._open_channel = open_channel
        self._make_stubs = make_stubs
        self._is_given = channel is not None
        self._stubs = None if channel is None else make_stubs(channel)
        self._generation = _fork.process.generation
        self._closed = False

    def stubs(self) -> Stubs:
        """Return the stubs on the channel.

        RuntimeError after a fork that gRPC does not survive, ClientClosed after `close`.
        """
        if self._generation == _fork.process.generation and (stubs := self._stubs) is not None:
            return stubs
        return self._connect()

    def _connect(self) -> Stubs:
        with _fork.process.lock:
            if self._generation != _fork.process.generation:
                if self._is_given:
                    raise RuntimeError(
                        "the channel of this Client belongs to the process before the fork: pass a target in place of "
                        "the channel, and the client opens one in each process"
                    )
                _fork.abandon(self._stubs)
                self._stubs, self._generation = None, _fork.process.generation
            if self._closed:
                raise closed_before_call()
            if self._stubs is None:
                _fork.before_opening(aio=False)
                self._stubs = self._make_stubs(self._open_channel())
            return self._stubs

    def close(self) -> None:
        """Close the channel, unless it was passed in."""
        if self._is_given:
            return
        self._closed = True
        stubs, self._stubs = self._stubs, None
        if self._generation != _fork.process.generation:
            _fork.abandon(stubs)
        elif stubs is not None:
            stubs.channel.close()
