"""Every error that ssbfast raises.

::

    SSBError
    ├── LocalProtocolError          this end broke it: a call that this state does not allow
    ├── RemoteProtocolError         the other end broke it: bytes that no honest peer sends
    │   ├── HandshakeError          the one failure of the secret handshake, for every cause
    │   │   └── BusyError           closed before a byte of the answer; a SessionEndedError as well
    │   ├── BoxStreamError          a box that is not authentic, empty or too long; bytes after the goodbye
    │   │   └── TruncatedError      the connection ended without goodbye
    │   ├── PacketError             a packet of type 3, or longer than agreed
    │   ├── MuxRPCError             a body that is not what its flags say, or a limit passed
    │   └── CarrierError            a session's move to another path that broke the rules of moving
    ├── RemoteError                 the peer answered a call with an error
    ├── SessionEndedError           the session is over (goodbye, death, or closed here)
    ├── RefusedError                a connection was refused, here or there
    │   └── NotDialledError         our own trust says no, so that the peer was not asked
    ├── DeadlineError               the peer did not do its part in time
    ├── PunchError                  no direct path to the peer could be opened this time
    ├── LimitError                  one of our own limits was reached (too many calls, queue full)
    ├── WebSiteError                    a room's web site could not be asked, or its answer cannot be used
    │   ├── AliasError              an alias that could not be resolved or verified
    │   └── InviteError             a web invite that could not be claimed
    ├── StoreError                  a peer's store could not be read or written just now
    ├── GraphAwayError              the follow graph cannot be asked: no caller is let in meanwhile
    ├── BadInputError (ValueError)  input from the user cannot be used
    │   ├── AddressError            a multiserver address, with the offset of the first bad character
    │   ├── FeedIdError             a feed id that is not canonical
    │   └── KeyFileError            a secret file that is missing, malformed or readable by others
    └── MissingExtraError           a command or class needs an extra that is not installed
        └── DirectUnavailableError  direct connections need aioquic, and that Python 3.11

Foreign errors (the C core, PyNaCl, OSError) become one of these in exactly one place each. No message holds a
key, an IP address or a full id.
"""

from __future__ import annotations


class SSBError(Exception):
    """Base of every error that ssbfast raises on purpose."""


class LocalProtocolError(SSBError):
    """This end made a call that the state of the object does not allow."""


class RemoteProtocolError(SSBError):
    """The other end sent something that the protocol does not allow. The connection is dead."""


class HandshakeError(RemoteProtocolError):
    """The secret handshake failed. The reason is not given: not to the peer, and not in the log."""

    def __init__(self) -> None:
        super().__init__("the secret handshake failed")


class BoxStreamError(RemoteProtocolError):
    """A box was not authentic, empty or too long, or bytes came after the goodbye."""


class TruncatedError(BoxStreamError):
    """The connection ended without the box stream's goodbye: what was read may not be all."""

    def __init__(self) -> None:
        super().__init__("the connection ended without goodbye")


class PacketError(RemoteProtocolError):
    """A packet of type 3, or one that must be whole and is longer than agreed."""


class MuxRPCError(RemoteProtocolError):
    """A packet whose body is not what its flags say, or one limit too many passed by the peer."""


class CarrierError(RemoteProtocolError):
    """A record of `direct.carrier` or of a direct path that the rules do not allow, or too much unacknowledged."""


class RemoteError(SSBError):
    """The peer answered a call, or ended a stream, with an error.

    Attributes:
        message: The peer's text, at most 1,024 characters, control characters replaced.
        name: The peer's word for the kind of error (mostly "Error").
    """

    def __init__(self, message: str, name: str = "Error") -> None:
        super().__init__(message)
        self.message = message
        self.name = name


class SessionEndedError(SSBError):
    """The session is over: the peer said goodbye, the connection died, or it was closed here."""


class BusyError(HandshakeError, SessionEndedError):
    """The peer that we dialled closed the connection before a byte of the answer came.

    A busy room does that, and a proxy in front of a room that is not there. So does a room of another network, which
    cannot be told from them. Worth another attempt, unlike a handshake that fails on what was answered.
    """

    def __init__(self) -> None:
        SSBError.__init__(self, "closed at once: busy or not there, or on another network")


class RefusedError(SSBError):
    """A connection was refused. The text is the same for every reason."""


class NotDialledError(RefusedError):
    """A peer was not dialled, because it would not be let in either.

    Attributes:
        reason: "stranger", "blocked" or "graph away" (see `ssbfast.room.tunnel_auth.Reason`).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DeadlineError(SSBError):
    """The peer did not do its part in time."""


class PunchError(SSBError):
    """No direct path to the peer could be opened this time."""


class LimitError(SSBError):
    """One of our own limits was reached."""


class WebSiteError(SSBError):
    """A room's web site could not be asked, or its answer cannot be used. The text says which check failed."""


class AliasError(WebSiteError):
    """An alias could not be resolved, or is not what it claims to be. The text says which check failed."""


class InviteError(WebSiteError):
    """A web invite could not be claimed."""


class StoreError(SSBError):
    """A peer's store could not be read or written: locked for too long, the disk full, the file damaged."""


class GraphAwayError(SSBError):
    """The follow graph cannot be asked just now. Programs that depend on it refuse callers."""


class BadInputError(SSBError, ValueError):
    """Input from the user cannot be used. Commands turn it into one line and exit code 2."""


class AddressError(BadInputError):
    """A multiserver address cannot be read.

    Attributes:
        problem: What is wrong, in words.
        offset: Index of the first bad character.
    """

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(f"{problem} (at character {offset})")
        self.problem = problem
        self.offset = offset


class FeedIdError(BadInputError):
    """A feed id is not `@<canonical base64 of 32 bytes>.ed25519`."""


class KeyFileError(BadInputError):
    """A secret file is missing, malformed, or can be read by others."""


class MissingExtraError(SSBError):
    """A command or class needs an extra that is not installed; the message names it."""


class DirectUnavailableError(MissingExtraError):
    """Direct connections cannot be made by this installation. Tunnels work without them."""

    def __init__(self) -> None:
        super().__init__("direct connections need Python 3.11 or newer and `pip install 'ssbfast[direct]'`")
