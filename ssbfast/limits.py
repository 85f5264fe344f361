"""The limits on what peers can do, and on what we spend on them: each with its name, its unit and its reason.

No other module invents one. These numbers stay in their modules:

- numbers that a format fixes (34-byte headers, 9-byte heads, ports, SQLite's versions);
- numbers that bound no peer and that no other module needs: the sizes of our own batches and buffers, the steps in
  which our own process looks at itself, and the patience of `demo` and `bench` with their own child processes.
"""

from __future__ import annotations

from typing import Final

KiB: Final = 1024
MiB: Final = 1024 * 1024

# ---------------------------------------------------------------- box stream and packets (bytes)

BOX_BODY: Final = 4096
"""Longest box body sent or accepted: the format's own maximum; JS tolerates 65,535 on input, no peer sends it."""

CALL_BODY: Final = 64 * KiB
"""Longest packet that must be whole when the peer calls us: room calls are below 1 KiB, JSON items of SSB
messages below 16 KiB. (Tunnel data are streamed and have no limit.)"""

ANSWER_BODY: Final = 4 * MiB
"""Longest whole packet in answer to our own calls: an attendants snapshot of 10,000 ids is 550 kB."""

OWN_ANSWER: Final = 512 * KiB
"""Longest answer that we give to an async call: it goes out in one piece, ahead of everything else."""

ERROR_TEXT: Final = 1024
"""Characters of a peer's error message that are kept."""

ERROR_NAME: Final = 64
"""Characters of the name of a peer's error (mostly "Error"), and of a method or id that an error of ours repeats."""

ROOM_NAME: Final = 128
"""Characters of a room's name that are kept: more than a line of a terminal."""

ROOM_FEATURES: Final = 64
"""Features of a room that are kept, each of `ERROR_NAME` characters: rooms name five."""

COMBINING_MARKS: Final = 4
"""Combining marks in a row that are shown of a remote text: living scripts need three, more cover other lines."""

JSON_DIGITS: Final = 40
"""Digits of an integer in JSON: JavaScript itself is exact to 16 only; long ones cost quadratic time."""

# ---------------------------------------------------------------- queues (bytes)

TUNNEL_SHARE: Final = 256 * KiB
"""What one tunnel may queue at its destination: bandwidth-delay product of 20 MB/s at 12 ms; more only adds
delay."""

LINK_BACKLOG: Final = 1 * MiB
"""What all tunnels together may queue at one destination."""

CONTROL_BACKLOG: Final = 1 * MiB
"""Control packets that wait for one peer. More means that it makes calls and does not read: its session ends."""

ROOM_BACKLOG: Final = 256 * KiB
"""The same at a room, which answers calls and reports joins and departures, and has thousands of peers."""

ROOM_ANSWER: Final = 64 * KiB
"""Longest packet that a room takes in one piece: it makes no call that has a long answer."""

POOL: Final = 256 * MiB
"""Queue memory of a whole process. It is address space until it is used."""

RECEIVE_BUFFER: Final = 256 * KiB
"""The one receive buffer that all links of a loop share: how much one read can bring."""

FLUSH_CHUNK: Final = 128 * KiB
"""Sealed bytes handed to a transport at a time."""

TRANSPORT_HIGH: Final = 128 * KiB
"""Sealed bytes that wait in a transport before sealing stops. Late sealing keeps control packets quick."""

EARLY_BYTES: Final = 64 * KiB
"""Bytes behind message 3 that are kept, unread, while admission decides. An honest client waits for message 4."""

SUBSCRIBER_BACKLOG: Final = 64 * KiB
"""Attendance events that wait for one subscriber; beyond it they are replaced by one fresh state."""

ATTENDANCE_STEP: Final = 16
"""Subscribers that are told what is new before tunnels get their turn again: 0.3 ms. The others follow."""

ATTENDANCE_PAUSE: Final = 0.002
"""Seconds until the next of them are told: so they take a sixth of the time, and 10,000 know in a second and a half."""

STREAM_INBOX: Final = 256 * KiB
"""Received stream items that wait in Python for the application, per stream, before the session stops reading."""

STREAM_BACKLOG: Final = 64 * MiB
"""The same while the application waits for something else of the session, which is behind the stream: in a `Peer` for
all streams together, in `compat` for each. Beyond it the stream ends. 10,000 messages of 6 KiB fit."""

STREAM_PATIENCE: Final = 1.0
"""Seconds in which nothing was taken from a full stream, after which its reader is thought to wait for one of the
tasks that wait for an answer."""

STREAM_ITEM: Final = 128
"""What each of them counts in addition: two bytes of JSON are as many in Python. 2,000 tiny ones fill the inbox."""

FORWARD_WINDOW: Final = 1 * MiB
"""Bytes of one carried TCP connection that are under way or wait for a slow reader: 5 MB/s at 200 ms. It is what
one connection whose reader stands still costs."""

FORWARD_READ: Final = 64 * KiB
"""Read from a carried TCP connection at a time: few events, and others get their turn."""

# ---------------------------------------------------------------- what programs print

LOG_BACKLOG: Final = 512 * KiB
"""Bytes of lines that wait for a slow reader of stdout or stderr: 4,000 lines. What comes beyond is counted."""

LOG_TEXT: Final = 8 * KiB
"""Characters of one text in a printed line: the address of a room on 60 interfaces. Remote texts are cut long before
that."""

LOG_ERROR: Final = 2 * KiB
"""Characters of an error or a warning on stderr: two texts of `ERROR_TEXT`."""

LOG_RATE: Final = 512
"""Bytes a second that a room's log of joins, departures and tunnels may have in the long run: 44 MB a day, whatever
strangers do."""

LOG_BURST: Final = 4 * KiB
"""The same at once: some 35 lines of JSON, a household that comes back."""

LOG_RESERVE: Final = 512
"""The part of `LOG_BURST` that is kept for the line that tells how many others were left out: 150 bytes of JSON."""

LOG_SKIPPED_SECONDS: Final = 10.0
"""Seconds between two such lines at the least."""

LOG_ERROR_SECONDS: Final = 60.0
"""An error of the program itself is told once in so long, with how often it came since; one kind for itself."""

LOG_ERROR_KINDS: Final = 64
"""Kinds of such errors that are told apart; what comes beyond is one kind."""

# ---------------------------------------------------------------- what users give us

KEY_FILE: Final = 16 * KiB
"""Bytes of a secret file: 700 in practice, room for comments."""

ADDRESS_TEXT: Final = 1024
"""Characters of a multiserver address with all its alternatives: 130 each, tunnels 180."""

PASTED_TEXT: Final = 4 * ADDRESS_TEXT
"""Characters of an address as it was pasted: percent-encoded in a URI it is three times as long."""

# ---------------------------------------------------------------- counts

OPEN_CALLS: Final = 1024
"""Calls and streams that one peer may have open on us at a time."""

SUBSCRIPTIONS_PER_SESSION: Final = 4
"""room.attendants and tunnel.endpoints streams of one session: clients need one, and each gets every change."""

LINGERING_STREAMS: Final = 256
"""Streams of one session that we are done with and whose end the peer has not answered; above it the oldest is
forgotten. JS peers never answer the end of a duplex stream."""

TUNNELS_PER_SESSION: Final = 1024
"""Tunnels that may begin or end at one session of a room."""

FORWARDS_PER_PEER: Final = 256
"""TCP connections carried for one peer at a time: a browser opens 6 per page, 256 that stand still hold
256 MiB. (Each costs two file descriptors, one per end.)"""

FORWARDS_PEERS: Final = 4
"""So many peers at their limit fill a service: with 256 connections each, 1,024 descriptors. Each may have as many as
are still free, so that the next one finds room, too."""

FORWARDS_MOST: Final = 65_536
"""What can be asked for instead of `FORWARDS_PER_PEER`: the ports of one address."""

COMPLAINT_SECONDS: Final = 1.0
"""Between two lines about connections that could not be carried, at the least."""

COMPLAINT_KINDS: Final = 64
"""Such lines that are kept until they are due; what comes beyond is not told."""

SESSIONS: Final = 20_000
"""Sessions of one room: a file descriptor and 7 KiB each. Where fewer files may be open, as many as may be."""

SESSIONS_PER_ADDRESS: Final = 2_048
"""Sessions of one IPv4 address or IPv6 /64, a tenth of all: a proxy or a campus behind one address fits. A /56 may have
twice, a /48 four times as many."""

HANDSHAKES: Final = 1_024
"""Connections of a room that have not finished the handshake, in total."""

HANDSHAKES_PER_ADDRESS: Final = 256
"""The same from one IPv4 address or IPv6 /64 (twice and four times as many from a /56 and a /48)."""

SILENT_SECONDS: Final = 2.0
"""What a connection that has not said a valid hello may be silent for once half of the places of its address are
taken; above, newcomers take its place. An honest client says hello at once."""

TUNNELS: Final = 16_384
"""Tunnels of one room, 6 KB each: 100 MB."""

TUNNELS_PER_ADDRESS: Final = 4_096
"""Tunnels that were opened from one IPv4 address or IPv6 /64."""

RESERVED_FILES: Final = 64
"""Files that sessions leave to the rest of the process: listening sockets, reflectors, logs, a database."""

EVICTION_SAMPLE: Final = 32
"""Of so many that are looked at, in turns, the least deserving goes: one of the worst tenth in 29 of 30 cases, at a
cost that does not grow with the room."""

UNUSED_TUNNEL: Final = 4 * KiB
"""A tunnel that has carried no more than this has seen a handshake and perhaps a call."""

ACCEPTS_PER_TICK: Final = 4
"""Connections accepted in one tick: 0.4 ms."""

EVICTION_GRACE: Final = 1.0
"""A session younger than this is not sent away for a newcomer if another one can be: time to ask and leave."""

BUDGET_ENTRIES: Final = 65_536
"""Accounts of keys, addresses and sessions that are remembered, 200 bytes each; above it the oldest is forgotten."""

HANDSHAKE_STEPS: Final = 8
"""Steps of callers' handshakes in one tick of the loop at most; `TICK_SECONDS` mostly ends a tick before."""

HEAVY_LINKS: Final = 4_096
"""Sessions that are looked at when memory is short, those with the most recent beginning first. `HEAVY_SLABS` each fill
the pool."""

SLAB: Final = 4 * KiB
"""The unit of queue memory: a page, and a box body."""

HEAVY_SLABS: Final = 16
"""Slabs of 4 KiB (64 KiB) from which on a session counts when memory is short: below it no session ever loses."""

EPHEMERALS: Final = 64
"""Ephemeral keys made while a room is idle: as many as `HANDSHAKES_PER_ADDRESS`, a burst from one household."""

SESSIONS_PER_FEED: Final = 16
"""Sessions of one key at a room at a time: re-connecting quickly is normal, hoarding is not."""

PENDING_INNER: Final = 256
"""Inner handshakes that wait for message 3, per portal session. At 900 callers a second each has 0.28 s for its round
trip. With `REFUSED_INNER` it is half of `OPEN_CALLS`, so that friends find room."""

PENDING_INNER_PER_ORIGIN: Final = 16
"""The same from one origin, by the room's word: a friend with several programs opens a few at a time."""

REFUSED_INNER: Final = 256
"""Inner handshakes per portal session that are refused, or being decided over, and whose 3 seconds are not over; above
it some of the refused ones end early, whatever their reason."""

REFUSED_INNER_PER_ORIGIN: Final = 16
"""The same from one origin: a peer that tries again and again is refused once in a second or two."""

INNER_SESSIONS: Final = 384
"""Sessions that a client has let in, standbys included, over all rooms: each may cost a socket and a direct path. Less
than the half of `OPEN_CALLS` that handshakes leave, so that one room alone can bring them."""

INNER_SESSIONS_PER_KEY: Final = 32
"""The same of one key: 16 programs, each with a standby. A friend whose line breaks every second leaves more dead ones
behind than that; the newest stay."""

ATTENDANTS: Final = 65_536
"""Attendants of one room that a client keeps; 4 MiB, the longest list, hold about as many."""

ATTENDANCE_EVENTS: Final = 256
"""Ids of a room's list that a client deals with before its other sessions get their turn: 1 ms."""

DENIALS_PER_ROOM: Final = 64
"""Refused strangers that are remembered of one room: more than a person reads, and free to produce."""

DENIALS_STRANGERS: Final = 1024
"""The same of all rooms together."""

DENIALS_KNOWN: Final = 4096
"""Refusals of keys in the follow graph that are remembered; above it the oldest go."""

DENIALS_PER_KEY: Final = 8
"""Refusals remembered of one key: of a stranger at one room, of a known key in all. The newest stay, so that one
persistent key does not crowd out the others."""

GRAPH_CACHE: Final = 1024
"""Relations that are remembered of an ssb server, each for `GRAPH_CACHE_SECONDS`."""

GRAPH_CALLS: Final = 64
"""Keys that an ssb server is asked about at a time; the others wait their turn."""

TICKETS: Final = 64
"""Tickets of a peer that are open at a time."""

TICKET_TEXT: Final = 480
"""Characters of a ticket behind its prefix: one with the longest host has 458."""

PAIRING_SESSIONS: Final = 8
"""Sessions of ticket keys that a peer has let in, at a time."""

PAIRING_ATTEMPTS: Final = 32
"""Sessions that one ticket gets: its taker needs one, and some more on a bad line."""

GUEST_CALLS: Final = 32
"""Calls of one session of a ticket key or of words: its own side makes two or three, and pings."""

WORDS_GUESSES: Final = 5
"""Wrong guesses of a ticket's words until these hold no more: five in four million."""

WORDS_DRAWS: Final = 6
"""Draws of words for which a room's nameplate may be taken, each with a chance of a quarter at most."""

SERVICES: Final = 64
"""Services that a peer offers under names of their own."""

DATAGRAM: Final = 65_507
"""Bytes of a datagram of a UDP service: more fit no packet of IPv4."""

FLOW_IDLE_SECONDS: Final = 60.0
"""A flow of datagrams over which nothing goes ends: its program may have ended, which UDP does not tell. WireGuard's
keepalive comes every 25 s. (Flows are counted as connections are, `FORWARDS_PER_PEER`.)"""

DATAGRAM_BUFFER: Final = 1 * MiB
"""Bytes that a socket of a flow may hold for us, where the system allows it: 50 ms of 20 MB/s."""

FLOW_EARLY: Final = 64 * KiB
"""Bytes of datagrams that wait until the socket to their service is there: a name may have to be looked up."""

FLOW_TURN: Final = 32
"""Datagrams of a flow that are delivered in one turn of the loop: a megabyte of empty ones would take a second, and
others wait. The peer is told of what waits here, so it sends no more than its window."""

FLOW_LASTING: Final = 8
"""Datagrams that make a flow a lasting one: a question for a name and its answer are two, a handshake of WireGuard and
what follows are more."""

FLOW_ANSWER_SECONDS: Final = 0.5
"""A flow that waits for its first answer so long may lose its place to another one of the same port."""

FLOW_QUEUE: Final = 512
"""Datagrams of all flows of a session that wait to leave on its direct path: 100 ms of 5,000 a second, 700 KB. Then the
oldest is dropped for the newest."""

FLOW_BATCH: Final = 2 * FLOW_QUEUE
"""Datagrams of flows that are taken from one reading of a direct path's socket, 5 ms: tiny ones come by the hundreds
in a packet. What comes beyond is dropped."""

FLOW_LONG_LOST: Final = 16
"""So many longer datagrams than `DIRECT_DATAGRAM_LEAST` lost, and none arrived between them: the path may have become
narrower. Where half of all are lost by chance it is one case in 65,000."""

FLOW_PAUSE_SECONDS: Final = 1.0
"""After a flow was refused no other is asked for: else each datagram would ask."""

SOCKS_OPENINGS: Final = 256
"""Connections to a SOCKS5 port that have not said yet where they want to go: programs do at once."""

SOCKS_SECONDS: Final = 10.0
"""What they may take for it: a program on another machine, on a slow line."""

SOCKS_FRIENDS: Final = 32
"""Friends that a SOCKS5 port keeps tunnels to at a time: one more costs the tunnel that is idle longest."""

PRIVATE_TAGS: Final = 100_000
"""Tags (contacts times portals) that are tried for one private tunnel address: 0.2 s."""

# ---------------------------------------------------------------- rates of a room (a second, and at once)

CALLS_PER_KEY: Final = 200.0
"""Calls a second of one key, by all its sessions: clients make three when they join. One costs 50 µs."""

CALLS_BURST: Final = 2_000.0
"""Calls of one key at once."""

CALLS_PER_ADDRESS: Final = 1_000.0
"""Calls a second from one address (each of its networks): a twentieth of what one core answers."""

CALLS_ADDRESS_BURST: Final = 8_000.0
"""The same at once: all peers behind one proxy come back after a restart."""

CALLS_OWN: Final = 5.0
"""Calls a second that a session may make whatever its neighbours do."""

CALLS_OWN_BURST: Final = 50.0
"""The same at once."""

ANNOUNCEMENTS_PER_KEY: Final = 2.0
"""Comings and goings a second of one key: all subscribers are told of each."""

ANNOUNCEMENTS_BURST: Final = 32.0
"""The same at once: twice `SESSIONS_PER_FEED`."""

ANNOUNCEMENTS_PER_ADDRESS: Final = 16.0
"""The same from one address."""

ANNOUNCEMENTS_ADDRESS_BURST: Final = 2_048.0
"""The same at once: `SESSIONS_PER_ADDRESS` may all come back."""

ANNOUNCEMENTS_OWN: Final = 0.2
"""The same of a session, whatever its neighbours do."""

ANNOUNCEMENTS_OWN_BURST: Final = 4.0
"""The same at once."""

LISTS_PER_KEY: Final = 1.0
"""Whole lists of attendants a second for one key: 55 bytes an attendant, asked for with 60 bytes."""

LISTS_BURST: Final = 32.0
"""The same at once: two for each of `SESSIONS_PER_FEED`."""

LISTS_PER_ADDRESS: Final = 32.0
"""The same for one address."""

LISTS_ADDRESS_BURST: Final = 2_048.0
"""The same at once."""

LISTS_OWN: Final = 0.2
"""The same for a session, whatever its neighbours do."""

LISTS_OWN_BURST: Final = 4.0
"""The same at once: `SUBSCRIPTIONS_PER_SESSION`."""

OPENS_PER_KEY: Final = 16.0
"""Tunnels a second that one key opens: 300 µs of the room's time each, and as much of the target's."""

OPENS_BURST: Final = 256.0
"""The same at once: a client that comes back to a large room dials many."""

OPENS_PER_ADDRESS: Final = 32.0
"""The same from one address."""

OPENS_ADDRESS_BURST: Final = 256.0
"""The same at once, above what each session may have of its own."""

OPENS_OWN: Final = 1.0
"""The same of a session, whatever its neighbours do."""

OPENS_OWN_BURST: Final = 16.0
"""The same at once."""

VISITS_PER_ADDRESS: Final = 32.0
"""Tunnels a second from one address to one target: a listener answers 900."""

VISITS_ADDRESS_BURST: Final = 256.0
"""The same at once."""

# ---------------------------------------------------------------- penalties of addresses

FAILURES_PER_ADDRESS: Final = 1.0
"""Connections a second of one address that may end before their handshake is done, by its own fault: a load balancer
that looks whether the port is open, and a peer with an outdated key that comes back every `RECONNECT_MAX`."""

FAILURES_ADDRESS_BURST: Final = 100.0
"""The same at once."""

TRIALS_PER_ADDRESS: Final = 20.0
"""Connections a second that an address may try in a penalty: a peer that is honest needs one, and they cost two
percent of a core."""

PENALTY_FIRST_SECONDS: Final = 5.0
"""The first penalty; each further one is twice as long."""

PENALTY_SECONDS: Final = 600.0
"""The longest penalty; so long after its end it is forgotten."""

PENALTY_PROOF_SECONDS: Final = 2.0
"""An address with a session of this age is not refused: a flood of short ones proves nothing."""

PENALTY_ENTRIES: Final = 16_384
"""Networks whose failures are remembered, 300 bytes each; above it the one that failed longest ago is forgotten."""

# ---------------------------------------------------------------- bytes a second, where they are limited

METER_LEAST: Final = 16 * KiB
"""The least that can be set: a session that is read in pieces of `METER_OWN` waits a quarter of a second for each."""

METER_PIECES: Final = 20
"""Pieces in which a second's bytes are read: a session that has to wait does so for a twentieth of a second."""

METER_OWN: Final = 4 * KiB
"""The smallest piece, and what a key may send at once however many share the whole: calls do not wait."""

METER_SECONDS: Final = 1.0
"""A key that sent nothing for so long has no share of the whole any more."""

METER_LOOK: Final = 8 * KiB
"""Bytes for each tunnel of a session after which all of them are looked at, a microsecond each."""

# ---------------------------------------------------------------- turns of the loop (seconds of its time)

TICK_SECONDS: Final = 0.001
"""Work in one tick of the loop before sessions that have used much wait for their turn: a call of a session that uses
little waits for it twice (there and back)."""

TICK_LIGHT_SECONDS: Final = 0.003
"""Work in one tick before all wait for turns, also those that use little: many of them are a crowd as well."""

TICK_EVENTS: Final = 8
"""Packets that the core of a room hands to Python before the clock is looked at: 0.3 ms of calls."""

PEER_EVENTS: Final = 32
"""The same of a peer, which has few sessions: each look costs as much as half an item of a stream."""

TICK_READ: Final = 4 * KiB
"""What is read from a connection whose data cannot be looked at in this tick."""

LIGHT_SHARE: Final = 0.03
"""The part of the loop's time that a session, and an address, may use without waiting for turns: twenty joins a
second."""

LIGHT_SECONDS: Final = 0.01
"""The same at once: ten joins."""

TURN_LEAD: Final = 0.01
"""Seconds of work by which the next turn of a session that used much may lie behind: with a hundred others that wait,
one second."""

PAUSE_SECONDS: Final = 60.0
"""The longest that a session is not read because of what it has spent."""

ACCEPT_PAUSE: Final = 0.25
"""When the process has no file left: sessions that end bring some."""

SWEEP_SECONDS: Final = 0.1
"""Between two looks for accounts that time has forgiven."""

SWEEP_ENTRIES: Final = 256
"""Accounts that are looked at then: 0.1 ms."""

TIDY_SECONDS: Final = 1.0
"""Between two looks whether a crowd has left."""

TIDY_CROWD: Final = 256
"""Sessions and tunnels that have to be gone before memory is worth being given back: 2 MiB."""

TIDY_BYTES: Final = 2 * MiB
"""What a burst of work has to leave behind before memory is given back: half a second of calls."""

TIDY_CALM: Final = 0.25
"""Memory is given back while the process uses no more than this part of a core: it takes 5 ms."""

TIDY_FEW: Final = 1_000
"""Up to so many sessions and tunnels a full garbage collection takes 15 ms, and is done after each such burst."""

TIDY_AT_LEAST_SECONDS: Final = 600.0
"""Full garbage collections come at least this often: one pause of 100 ms, if ten thousand are there."""

TALLY_SECONDS: Final = 10.0
"""Limits that were reached are told at most once in so long."""

# ---------------------------------------------------------------- times (seconds)

HANDSHAKE_SECONDS: Final = 15.0
"""The whole of a handshake. JS allows 5 s a read, 15 s if configured."""

INNER_HELLO_SECONDS: Final = 5.0
"""From the tunnel's opening to message 3 of the inner handshake."""

STALL_SECONDS: Final = 15.0
"""A target that takes nothing for so long loses the tunnel: its source may have other tunnels to serve."""

LINGER_SECONDS: Final = 30.0
"""A tunnel that one side has ended and that brings nothing from the other for so long is over: JS peers do not
answer ends."""

GOODBYE_SECONDS: Final = 3.0
"""How long a closing session waits for the peer's goodbye and for its own last bytes to leave."""

KEEPALIVE_IDLE: Final = 20
"""TCP keepalive: idle seconds before the first probe."""

KEEPALIVE_INTERVAL: Final = 5
"""TCP keepalive: seconds between probes."""

USER_TIMEOUT: Final = 40.0
"""TCP_USER_TIMEOUT: unacknowledged for so long means gone; with keepalive a vanished peer is noticed in 45 s."""

PING_SECONDS: Final = 300.0
"""gossip.ping interval that SSB peers announce; below five minutes an inactivity limit would cut idle JS peers."""

PING_ANSWER_SECONDS: Final = 60.0
"""What a peer has to answer our gossip.ping; an answer may wait behind a megabyte of backlog on a slow line."""

ENDPOINTS_SECONDS: Final = 1.0
"""A subscriber of tunnel.endpoints gets the whole list at most once in so long."""

ATTENDANCE_PAUSE_SECONDS: Final = 0.005
"""Between two times `ATTENDANCE_EVENTS`: a room that sends lists without end costs its client a fifth of a CPU, and one
with 10,000 attendants is read in half a second."""

DIAL_SECONDS: Final = 15.0
"""TCP connection attempt, before the handshake."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds between attempts at several addresses of one host, or several hosts of one room (RFC 8305)."""

ANSWER_DELAY: Final = 3.0
"""The same once there is a connection and the handshake is awaited: a crowded room shall not be dialled twice."""

BAD_WAY_SECONDS: Final = 300.0
"""An address that was of no use is tried behind the others for so long."""

BAD_WAYS: Final = 256
"""Such addresses that are remembered."""

DIAL_ADDRESSES: Final = 16
"""Addresses of one name that are tried: a name server may send hundreds."""

RESOLVER_THREADS: Final = 8
"""Names that are looked up at a time, in a thread each. Lost ones hold theirs for half a minute."""

RECONNECT_FIRST: Final = 0.5
"""Pause before a lost room is dialled again; each pause is cut at random to between a half and the whole."""

RECONNECT_FACTOR: Final = 2.0
"""How much longer each pause is than the one before."""

RECONNECT_MAX: Final = 5.0
"""The longest pause: a room that comes back has its peers back within 10 s."""

RECONNECT_USEFUL: Final = 5.0
"""A session that lasted for so long has the next loss begin with `RECONNECT_FIRST` again. A peer that is thrown out
sooner each time dials no more often than one that is not let in: every `RECONNECT_MAX`."""

RECONNECT_REFUSED: Final = 60.0
"""Pause before a room that refuses us, or is none, is asked again while we are in another: it may be repaired."""

RECONNECT_DIAL_SECONDS: Final = 5.0
"""TCP connection attempt when we dial again: a SYN that was lost is repeated only after 1, 3 and 7 s."""

CALL_SECONDS: Final = 30.0
"""What our own programs wait for the answer to a call."""

REFUSAL_SECONDS: Final = 3.0
"""From message 3 to the end of a refused tunnel, whatever the reason: longer than any decision takes."""

STORE_BUSY_SECONDS: Final = 5.0
"""How long a write to the store waits for another process; each of ours takes milliseconds."""

WHO_SECONDS: Final = 1.0
"""What two processes of one user on one machine have for a question of one line and its answer."""

STORE_SPACE: Final = 64 * KiB
"""Bytes: with less room on its disk SQLite has no place for the index of its log, and says something vague."""

STORE_GONE_SECONDS: Final = 1.0
"""How long a store that was removed or spoilt may be away before live tunnels end: one that is copied anew is back."""

DENIAL_WRITE_SECONDS: Final = 1.0
"""Denials are written to the store at most once in so long, however many there are."""

GRAPH_POLL_SECONDS: Final = 0.25
"""How often the follow graph is looked at for changes that concern live tunnels, which have to end within 1 s."""

GRAPH_CACHE_SECONDS: Final = 0.5
"""How long an ssb server's answer holds: a change has to be felt within 1 s."""

GRAPH_SECONDS: Final = 2.5
"""What the follow graph has for an answer, dialling included: less than `REFUSAL_SECONDS`."""

GRAPH_RETRY_SECONDS: Final = 1.0
"""The first pause before an ssb server is dialled again; `RECONNECT_MAX` is the longest."""

PAIRING_SECONDS: Final = 30.0
"""From the end of the handshake with a ticket key to the end of its session."""

CLOCK_SLACK: Final = 600.0
"""By so much a clock may be set back without a ticket that has just been made being taken for one of the future."""

TICKET_SECONDS: Final = 3600.0
"""From the making of a ticket to its end, unless the user says otherwise."""

TICKET_SECONDS_MAX: Final = 7 * 86_400.0
"""The longest life of a ticket."""

# ---------------------------------------------------------------- direct paths

UDP_BATCH: Final = 64
"""Datagrams read per wake-up before QUIC makes its pass over them: half the receiver's CPU, 90 KB."""

UDP_BUFFER: Final = 1 * MiB
"""Socket buffers asked for, each way; systems give less."""

UDP_DATAGRAM: Final = 2048
"""Bytes of a received datagram; QUIC's and ours are smaller, and longer ones are cut and then refused."""

UDP_TURN_SECONDS: Final = 0.004
"""After so long of them the other sockets get their turn: a packet may hold hundreds of frames for nothing."""

CARRIER_WINDOW: Final = 1 * MiB
"""W: bytes of a session that its sender keeps until they are acknowledged, so that another carrier can go on."""

CARRIER_WINDOW_PLAIN: Final = 4 * MiB
"""What W may grow to where the other end does not say what it takes: 20 MB/s over 200 ms."""

CARRIER_WINDOW_MAX: Final = 32 * MiB
"""What W may grow to, of a session and of a forwarded connection, and what we say that we take: 160 MB/s over 200 ms.
What is above `CARRIER_WINDOW_PLAIN`, or `FORWARD_WINDOW`, comes from `PATH_MEMORY`."""

CARRIER_WINDOW_SAID: Final = 1024 * MiB
"""The most that an end may say it takes."""

PATH_MEMORY: Final = 128 * MiB
"""What the windows of all direct paths of a process may take beyond their first sizes: bytes kept for sending them
again, and credit of QUIC. One peer has half of it at the most, which is what one session can use, both ways."""

CARRIER_SLACK: Final = 64 * KiB
"""What may come unacknowledged beyond what was agreed upon before the peer has broken the rules."""

ACK_SECONDS: Final = 0.05
"""Latest acknowledgement of consumed bytes; `CARRIER_WINDOW` / 4 of them are acknowledged at once."""

DIRECT_LOST_SECONDS: Final = 1.5
"""A direct path is lost when nothing authentic comes for so long while bytes or a ping wait for an answer."""

DIRECT_STUCK_SECONDS: Final = 1.5
"""A direct path is of no use when the oldest byte of a stream, once sent, is not acknowledged for so long, whatever
else comes: datagrams of full length do not pass (any more)."""

DIRECT_STUCK_RTTS: Final = 6
"""The same in round trips, where that is more: a byte that is lost takes about two of them each time."""

DIRECT_LOOK_SECONDS: Final = 0.25
"""How often that is looked at on a busy path."""

DIRECT_PING_BUSY: Final = 1.0
"""Seconds between pings of a direct path on which the session moved within `DIRECT_BUSY`."""

DIRECT_PING_IDLE: Final = 15.0
"""The same on a quiet one: NATs forget after 30 s."""

DIRECT_BUSY: Final = 5.0
"""A session that has moved within so long is busy."""

CARRIER_SECONDS: Final = 30.0
"""A session that has had no carrier for so long is over; proofs have to come within it, too."""

SLEEP_KEEP_SECONDS: Final = 600.0
"""The same for a peer that we follow, as long as there are places: its laptop may sleep, and what it wakes up with goes
on. Meanwhile connections of that session wait, and end no sooner. Users set it: `--keep`."""

AWAY_TOLD_SECONDS: Final = 3.0
"""A session that nothing has carried for so long: the user is told that the friend is away."""

SLEEP_KEEP_MAX: Final = 86_400.0
"""The most that users may set."""

SLEEP_KEPT: Final = 16
"""Sessions that are kept for longer than `CARRIER_SECONDS`, each with `CARRIER_WINDOW_PLAIN`
(together 64 MiB) and its part of `PATH_MEMORY` at most."""

HEARTBEAT_SECONDS: Final = 1.0
"""How often a process with sessions that may move notes that it is awake."""

SLEEP_NOTICED_SECONDS: Final = 5.0
"""A heart that was silent for so long has slept: no loop is as busy as that."""

UPGRADE_SECONDS: Final = 10.0
"""Between two upgrades of a session at the least; what fails is tried again after twice as long each time."""

UPGRADE_MAX: Final = 600.0
"""The longest pause between upgrades."""

STANDBY_PING: Final = 60.0
"""Keepalive of a standby tunnel. One that held for so long is dialled again after the shortest pause."""

STANDBY_PING_NEEDED: Final = 2.0
"""The same while the session waits to move there."""

STANDBY_SILENT: Final = 5.0
"""A standby tunnel that is needed and brings nothing for so long: the caller dials another one."""

STANDBY_RETRY_MAX: Final = 60.0
"""Longest pause between attempts at a standby tunnel while the direct path holds; `RECONNECT_MAX` once it is lost."""

DOWN_SECONDS: Final = 5.0
"""After its end a session still answers for so long an other end that has to come back to a tunnel."""

DIRECT_DATAGRAM: Final = 1400
"""UDP payload of QUIC: fits through PPPoE and most tunnels; QUIC's first flight is padded to it, and so finds out."""

DIRECT_DATAGRAM_LEAST: Final = 1200
"""The same where nothing longer passed: QUIC asks every path for it (RFC 9000, section 14)."""

DIRECT_DATAGRAM_FRAME: Final = 65_535
"""The longest DATAGRAM frame that we let the other end send (RFC 9221, section 3): any that fits into a packet."""

DIRECT_EARLY: Final = 16 * KiB
"""What a QUIC stream may bring before the proofs, and a new one before its credit grows: a first congestion window."""

DIRECT_STREAM_WINDOW: Final = 5 * MiB
"""Credit of the session's QUIC stream beyond what the session has used up, at first: what waits for a gap or for a
reader. Above `CARRIER_WINDOW_PLAIN`."""

DIRECT_FORWARD_WINDOW: Final = 1536 * KiB
"""The same of every other stream. Above `FORWARD_WINDOW`, also when a quarter of it has not been told."""

DIRECT_STREAM_WINDOW_MAX: Final = 40 * MiB
"""What either may grow to, as far as `PATH_MEMORY` lasts, where the reader keeps up. Above `CARRIER_WINDOW_MAX`."""

DIRECT_WINDOW: Final = 8 * MiB
"""Credit of all streams of a path together beyond what has been delivered, at first: what may wait for gaps."""

DIRECT_WINDOW_MAX: Final = 48 * MiB
"""What it may grow to with that of the streams."""

QUIC_SEGMENTS: Final = 1024
"""Pieces that a QUIC stream sends and has not seen acknowledged, at the most; what is more waits, and becomes one."""

QUIC_PACKETS: Final = 32_768
"""Packets of a path that are sent and not acknowledged, at the most: 45 MB of them."""

QUIC_DATAGRAM_IPV4: Final = 1472
"""The longest UDP payload that is tried on a direct path: an Ethernet frame of 1,500 bytes, by IPv4 …"""

QUIC_DATAGRAM_IPV6: Final = 1452
"""… and by IPv6."""

QUIC_DATAGRAMS: Final = 128 * KiB
"""Bytes of a path's unreliable datagrams that wait, each way. Then the oldest are dropped for the newest."""

UDP_TRAINS: Final = 16
"""Trains read per wake-up, of up to 64 KiB each."""

DIRECT_SETTLE_RTTS: Final = 3
"""So many round trips after the proofs a path may look for a quiet moment for the engine; then it stays as it is."""

DIRECT_SETTLE_LEAST: Final = 1.0
"""And so long at the least, in seconds: a busy machine pauses for a quarter of one."""

DIRECT_SETTLE_KEPT: Final = 4096
"""Pieces of streams, and their ends, that are kept meanwhile: the credit of then is 16 KiB, of which ends cost none."""

DIRECT_IDLE_SECONDS: Final = 60.0
"""QUIC's own idle timeout: longer than every judgement of ours, so that those decide."""

CERTIFICATE: Final = 2 * KiB
"""Bytes of the one certificate of a direct path (DER): 300 in practice."""

CANDIDATES: Final = 8
"""Addresses that a peer may name for itself."""

PEER_REFLEXIVE: Final = 4
"""Addresses more that authentic probes of it may come from."""

REFLECTORS: Final = 4
"""Reflectors that one attempt asks: two show how a NAT gives out ports, for IPv4 and for IPv6."""

REFLECTORS_PER_HOST: Final = 2
"""The same at one IP address: a room that names many ports does not crowd out the reflectors of others."""

GATHER_SECONDS: Final = 1.0
"""What silent reflectors may cost an attempt; when all have answered it goes on at once."""

DOCTOR_SECONDS: Final = 3.0
"""The same for `ssbfast doctor`, which has more patience: silence is a finding."""

HAIRPIN_SECONDS: Final = 0.3
"""What a router on one's own LAN may take to send a datagram back; three are tried."""

MAPPING_SECONDS: Final = 120
"""Life of a router's mapping to one of our sockets, in whole seconds; it is renewed at half of it, as long as the
socket is in use. RFC 6887 lets routers give no less."""

MAPPING_SECONDS_MOST: Final = 3_600
"""A longer life that a router gives counts as this one: it may forget all when it restarts."""

MAPPING_RENEW_LEAST: Final = 4.0
"""Seconds between two requests for a renewal, at least (RFC 6887, section 11.2.1)."""

MAPPING_SENDS: Final = 3
"""Requests to a router that does not answer."""

MAPPING_RESEND_SECONDS: Final = 0.25
"""Until the second of them; then twice as long each time (RFC 6886, section 3.1)."""

UPNP_FIND_SECONDS: Final = 8.0
"""For finding out whether the default gateway speaks UPnP: a search, and some HTTP requests in succession."""

UPNP_RESEND_SECONDS: Final = 0.5
"""Between two searches."""

UPNP_SECONDS: Final = 2.0
"""For one HTTP request to a router."""

UPNP_ANSWER: Final = 128 * KiB
"""Bytes of an answer of it: descriptions have 2 to 30 KiB."""

UPNP_PORTS: Final = 3
"""Other ports that are tried when a router has given away the one that we wish for."""

UPNP_AGAIN_SECONDS: Final = 600.0
"""Until a gateway without UPnP is asked once more."""

MAPPING_WAIT_SECONDS: Final = 0.25
"""How long an offer waits for a router that has answered before, and for any when no reflector answers: then a mapping
is all that leads to us. Less than a failed attempt costs; other routers are not waited for."""

PREPARED_SECONDS: Final = 10.0
"""What a target has gathered in advance is of use for so long: NATs forget after 30 s."""

OFFER_SECONDS: Final = 10.0
"""The sockets of an offer, or of an answer to one, are closed when punching has not begun so long after: a caller waits
no longer for an answer, and SYNC follows at once."""

ATTEMPTS: Final = 96
"""Attempts at direct paths that have sockets at a time, of all peers: two sockets each. With `ATTEMPTS_PER_KEY` it is
such that in turns of `PROBES_PER_SECOND` none waits longer than a second."""

ATTEMPTS_PER_KEY: Final = 4
"""The same with one peer: its sessions of several programs move at a time. A further attempt takes the place of the
peer's own oldest one that has not begun to punch."""

UDP_SOCKETS: Final = 4_096
"""UDP sockets of attempts and direct paths of a process, at the most. Those of a birthday search count apart."""

UDP_SOCKETS_SHARE: Final = 4
"""They may be one of so many descriptors that the process may have: 256 of 1,024, and as many for a search."""

UDP_SOCKETS_PER_KEY: Final = 16
"""The same with one peer: `ATTEMPTS_PER_KEY` with two sockets each, and as many paths."""

UDP_SOCKETS_FREE_SHARE: Final = 4
"""One peer may have at most one of so many sockets that are free. So many peers together never take the last ones."""

STUN_RESENDS: Final = (0.1, 0.3, 0.7)
"""Seconds after the first request to a reflector at which it is repeated."""

PROBES_PER_SECOND: Final = 500
"""Probes that this process sends in any second: all attempts together, with their answers and birthday searches. They
are 57 bytes each with their headers, 28 KB/s, wherever liars make us send them."""

PROBE_BURST: Final = 40
"""Probes that may leave at once: all first checks of two attempts together, because they open our NAT. It is a part of
`PROBES_PER_SECOND`, which holds for every window of a second."""

GUESSES_PER_SECOND: Final = 400
"""The part of `PROBES_PER_SECOND` that birthday searches may use, all together: 60 a second are always left for checks
and answers, and fill the burst again."""

CHECK_FIRST: Final = 0.05
"""Seconds between the first two checks of an address; each pause is `CHECK_FACTOR` times the one before."""

CHECK_FACTOR: Final = 1.5
"""The first six checks leave within 0.7 s: at 10 % loss each way 999,950 of a million got through by then."""

CHECK_PAUSE: Final = 0.8
"""The longest pause between two checks of an address: `UNANSWERED_CHECKS` of them take 3.2 s, nearly all of an
attempt, so that the ends may begin at different times."""

UNANSWERED_CHECKS: Final = 10
"""Checks that leave for one address while it answers none, in `UNANSWERED_SECONDS`, by whichever peer it is named.
At 30 % loss each way 994 of 1,000 attempts still meet, and an upgrade has three. The same number again once an
authentic check came from there: our first ones may have been lost on the other end's shut NAT."""

UNANSWERED_SECONDS: Final = 60.0
"""An address that has answered nothing may be tried again after so long. Honest peers have fresh ports by then."""

UNANSWERED_ADDRESSES: Final = 30_000
"""Addresses whose unanswered checks are remembered: as many as `PROBES_PER_SECOND` reaches in `UNANSWERED_SECONDS`,
8 MiB if each is another one. Above it the oldest are forgotten."""

ANSWERS_PER_ADDRESS: Final = 2 * UNANSWERED_CHECKS
"""Different checks from one address that one attempt answers: as many as an honest peer sends. Replays get none."""

PREFER_SECONDS: Final = 0.01
"""When a path works, how long a better one may still come: paths of the same network answer within 10 ms."""

BIRTHDAY_SOCKETS: Final = 256
"""Sockets on the hard side of a birthday search. There is one such search at a time in a process."""

BIRTHDAY_PROBES: Final = 5_000
"""Probes of one birthday search."""

BIRTHDAY_SECONDS: Final = 10.0
"""An attempt with a birthday search; nearly all that meet do so just after `BIRTHDAY_OPENING`."""

BIRTHDAY_OPENING: Final = 4.0
"""Seconds after the start at which the hard side opens its sockets: 1,400 ports have been guessed by then, and 256
sockets miss all of them in 4 cases of 1,000."""

BIRTHDAY_DELAY: Final = 0.5
"""What ordinary checks get before the guessing begins."""

BIRTHDAY_PEERS: Final = 1_024
"""Peers whose last search is remembered; with all of them searched within `BIRTHDAY_PAUSE` there is no other."""

BIRTHDAY_PAUSE: Final = 600.0
"""One birthday search a peer in so long."""

PUNCH_SECONDS: Final = 4.0
"""The probing of one attempt: less than 5 s with offer, answer and SYNC. `PUNCH_ATTEMPTS`, each from fresh sockets."""

PUNCH_GRACE: Final = 1.0
"""How much longer the target waits for QUIC than the caller searches for a path."""

PUNCH_ATTEMPTS: Final = 3
"""A mistimed attempt spoils its port at NATs that remap early packets; three are enough for what can be punched."""

DECISION_SECONDS: Final = 14.5
"""All attempts of one upgrade together, without a birthday search; people are told within 15 s that there is none."""

STUN_REQUEST: Final = 256
"""Bytes of a STUN request that we answer: ours have 52, a bare one 20, and longer ones only cost time to look at."""

REFLECT_PER_NET: Final = 10
"""STUN answers a second to one /24 or /56."""

REFLECT_TOTAL: Final = 1_000
"""STUN answers a second in all."""

STANDBY_DIAL_SECONDS: Final = 8.0
"""The handshake of a standby tunnel: what an honest target may take, `INNER_HELLO_SECONDS` and `REFUSAL_SECONDS`. A
room that swallows it leaves time for others within `CARRIER_SECONDS`."""

DIRECT_FAREWELL_SECONDS: Final = 2.0
"""How long the socket of a direct path that is over still repeats that to an other end that has missed it."""

ERROR_ECHO: Final = 4 * KiB
"""Longest error end (bytes) that is answered with the very same body; a longer one is answered with our own."""

EVENT_ROOM: Final = 128 * KiB
"""Bytes of events that one call of the engine gives at a time; more makes it answer AGAIN."""

POOL_TRIM_SECONDS: Final = 1.0
"""Queue memory that nothing uses is given back to the system so long after links have sent, and no more often."""

PRESSURE_PART: Final = 4
"""Memory pressure begins when one of so many parts of the pool is lent."""

PRESSURE_SHORT_PART: Final = 16
"""Under pressure no link is given time when less than one of so many parts of the pool is left."""

PRESSURE_ENOUGH_PART: Final = 8
"""A link that met a full pool is read again when one of so many parts is left."""

PRESSURE_PATIENCE_SECONDS: Final = 1.0
"""How long a link may hold more than its part under pressure, as long as the pool is not short."""

PRESSURE_STEP_SECONDS: Final = 0.05
"""How often the links are looked at under pressure."""

REFUSED_PAUSES: Final = 2.0
"""Pauses are so many times longer when the target is there and refuses: each attempt is a line on its screen."""

WHO_LINE: Final = 1 * KiB
"""Bytes of that question, and of its answer."""

GRAPH_POOL: Final = 4 * MiB
"""Queue memory of the session with an ssb server: a few hundred questions of 150 bytes."""

STANDBY_BYTES: Final = 64 * KiB
"""Bytes of a standby in one direction, before the goodbye; more end it. A keepalive takes 200 bytes a minute, so a week
of them fits twenty times."""

STANDBY_PROBATION_SECONDS: Final = 2.0
"""How long a tunnel that may be a standby is kept from view: its first call comes with the handshake's last message."""

STANDBY_ACCEPT_SECONDS: Final = 5.0
"""What the other end has to accept a standby."""

STATUS_SECONDS: Final = 0.5
"""What a first look at a client takes to measure rates and round trips."""

FASTER_SECONDS: Final = 0.002
"""Round trips of two paths that differ by less are called equal."""

STATUS_ANSWER_SECONDS: Final = 3.0
"""What a command waits for the status of one process."""

STATUS_KEPT_SECONDS: Final = 10.0
"""Looks that are further apart are first looks: a rate is that of the last seconds."""

PATH_CHOICE_SECONDS: Final = 25.0
"""How long a user who chooses a path waits for it: for all attempts at a direct one, a birthday search included."""

OFFER_ANSWER_SECONDS: Final = 10.0
"""What a peer has to answer an offer of a direct path, or a call for one; it asks its reflectors meanwhile."""

OFFER_ANSWER_TOOK: Final = 60_000.0
"""Milliseconds that an answer may say it took: more than `OFFER_ANSWER_SECONDS` allows is no honest number."""

OFFERS: Final = 2 * PUNCH_ATTEMPTS
"""Offers that a caller may make in `UPGRADE_SECONDS`."""

DIRECT_FAREWELLS: Final = 8
"""How often at the most: each answers a datagram, which may be forged."""

KERNEL_UNSENT: Final = 64 * KiB
"""Unsent bytes the kernel may hold. Without it some MiB would hide a stalled peer, and delay late sealing."""

STALL_CHECK_SECONDS: Final = 1.0
"""How often stalled links are looked for, at the least; `STALL_SECONDS` / 4 where that is shorter."""

TUNNELS_ENDED: Final = 8
"""Tunnels that end together with their session; its others take turns with the work of other sessions."""

LISTEN_BACKLOG: Final = 1_024
"""Connections that the system keeps for a listening socket until we accept them: as many as `HANDSHAKES`."""

# ---------------------------------------------------------------- WebSocket

WEBSOCKET_MESSAGE: Final = 1 * MiB
"""Longest message that is sent or taken: nothing waits for the end of one, and JS peers' are below 64 KiB."""

WEBSOCKET_READ: Final = 512
"""Bytes of a connection that are looked at in one go: of the smallest frames they hold 85, 0.7 ms of work. The next go
is twice as long where frames are long."""

WEBSOCKET_FEW: Final = 4
"""Frames in one go that are no more than long frames would be."""

WEBSOCKET_FRAMES: Final = 64
"""Frames of a connection after which the rest of what was read takes turns with others' work: 0.5 ms of it."""

WEBSOCKET_IDLE_FRAMES: Final = 128
"""Frames without a byte of the session's (pings, pongs, empty ones) that a peer may send at once."""

WEBSOCKET_IDLE_FRAMES_PER_SECOND: Final = 4.0
"""The same in the long run: browsers and proxies ping every 20 s or so."""

WEBSOCKET_UPGRADE_SECONDS: Final = 10.0
"""How long the opening handshake may take, once there is a connection."""

WEBSOCKET_CLOSE_SECONDS: Final = 3.0
"""How long the answer to a close frame may take; as `GOODBYE_SECONDS`."""

# ---------------------------------------------------------------- web sites of rooms, as peers ask them

WEB_SECONDS: Final = 10.0
"""How long a room's web site may take for all that we ask it about one alias or one invite."""

SITE_SECONDS: Final = 3.0
"""How long a room's web site may take to tell that a name stands for the room: new words wait for that."""

WEB_ANSWER: Final = 64 * KiB
"""Longest answer of a web site: an alias or an invite has less than 1 KiB."""

WEB_HEAD: Final = 16 * KiB
"""Longest head of an answer."""

WEB_REDIRECTS: Final = 3
"""Redirects that are followed, all to the same host."""

WEB_URL: Final = 2_000
"""Characters of a web address that we ask for."""

ALIAS_LOOKUP_SECONDS: Final = 3_600.0
"""A refused peer's alias is looked for once in so long at the most."""

ALIAS_LOOKUPS: Final = 60
"""Refused peers whose alias is looked for in `ALIAS_LOOKUP_SECONDS`: identities are free, and each asks a web site."""

ALIAS_LOOKUP_NAMES: Final = 4
"""Names of one peer that a room's web site is asked about."""

# ---------------------------------------------------------------- members of a room

TOP_TUNNELS: Final = 1_000
"""Tunnels that `ssbfast room top` may ask for."""

TOP_LEAST_SECONDS: Final = 0.1
"""Looks at the tunnels within this time are one."""

TOP_FORGET_SECONDS: Final = 10.0
"""What a look has seen is forgotten when none follows."""

RECORDS_LOOK_SECONDS: Final = 0.2
"""How often a room looks for what other processes wrote into its records: one PRAGMA, a few microseconds."""

RECORDS_PROBLEM_SECONDS: Final = 10.0
"""The operator hears of changes that cannot be written once in so long."""

RECORDS_SWEEP_SECONDS: Final = 3_600.0
"""How often a room forgets what is over in its records: old lines of the audit log, expired links and sign-ins."""

ALIASES_PER_KEY: Final = 8
"""Aliases that one key may have in a room."""

ALIAS_REST: Final = 30 * 86_400.0
"""Seconds that a freed alias is kept from others than its last owner: links to it are about somewhere."""

AUDIT_DAYS: Final = 90
"""Days that lines of a room's audit log are kept."""

AUDIT_LINES: Final = 200_000
"""Lines of a room's audit log that are kept, 30 MB: strangers cause some, however few each of them may."""

SELF_JOINED_MEMBERS: Final = 10_000
"""Members that came into an open room by themselves: 3 MB, with an alias each. Beyond them only members that somebody
has let in, moderators, admins and the operator let others in."""

SELF_JOINED_INVITES: Final = 2_000
"""Open invites of visitors and of members that came by themselves, all together; as many more are kept that are over,
so that their makers see what became of them."""

SELF_JOINED_INVITES_SHARE: Final = 4
"""Open invites that each of these members may have, however many the others have: 7 MB at the worst."""

SELF_JOINED_ALIASES: Final = 20_000
"""Aliases of members that came by themselves, all together, and names that they freed: 4 MB."""

SELF_JOINED_ALIASES_SHARE: Final = 1
"""The aliases that each of these members may have, however many the others have."""

MEMBERS_PER_PACKET: Final = 100
"""Members in one packet of room.members: 6 KiB, which takes its turn beside tunnels."""

WRITES_WAITING: Final = 64
"""Calls of all peers that wait for a room's records, some milliseconds each."""

WRITES_WAITING_PER_ADDRESS: Final = 16
"""The same from one IPv4 address or IPv6 /64 (twice and four times as many from a /56 and a /48)."""

WRITES_WAITING_PER_SESSION: Final = 2
"""The same of one session."""

REGISTRATIONS_PER_KEY: Final = 30 / 3600.0
"""Aliases that one key may ask for a second, in the long run: with `REGISTRATIONS_BURST`, 60 in any hour."""

REGISTRATIONS_BURST: Final = 30.0
"""The same at once."""

REGISTRATIONS_PER_ADDRESS: Final = 300 / 3600.0
"""The same from one address: each costs a signature's verification and a line in the records."""

REGISTRATIONS_ADDRESS_BURST: Final = 300.0
"""The same at once."""

NAMEPLATES_PER_KEY: Final = 1 / 60.0
"""Nameplates of pairing that one key may announce or look for a second, in the long run."""

NAMEPLATES_BURST: Final = 8.0
"""The same at once: the maker of words draws again while a nameplate is taken."""

NAMEPLATES_RATE_PER_ADDRESS: Final = 1 / 20.0
"""The same from one address: with the burst a tenth of all 2,048 in the hour that words hold."""

NAMEPLATES_ADDRESS_BURST: Final = 32.0
"""The same at once."""

NAMEPLATES: Final = 512
"""Nameplates that a room keeps: a quarter of all, so that a new draw seldom meets one that is taken."""

NAMEPLATES_PER_ADDRESS: Final = 16
"""The same of one address."""

WRITES_PER_KEY: Final = 0.1
"""Other calls a second of one key that change a room's records: it revokes an alias, it signs browsers out."""

WRITES_BURST: Final = 30.0
"""The same at once."""

WRITES_PER_ADDRESS: Final = 2.0
"""The same from one address."""

WRITES_ADDRESS_BURST: Final = 300.0
"""The same at once."""

EXCLUDED_AT_ONCE: Final = 32
"""Keys that feel a new mode in one turn of the loop: 3 ms. The others follow in the next turns."""

SOLUTION_SECONDS: Final = 60.0
"""What a peer has to solve the challenge of a sign-in: its user is asked."""

SOLUTIONS_PER_SESSION: Final = 4
"""Challenges that wait for one session."""

INVITE_DAYS: Final = 365
"""Days that an invite may be valid, at the most."""

INVITE_USES: Final = 100
"""Keys that one invite may let in, at the most."""

SETTING_LETTERS: Final = 200
"""Characters of a room's name, description and other short texts."""

WEB_SESSION_IDLE: Final = 86_400.0
"""Seconds that a browser stays signed in without a visit."""

WEB_SESSION_MOST: Final = 30 * 86_400.0
"""Seconds that a browser stays signed in at the most, however often it is there."""

WEB_SESSIONS_PER_KEY: Final = 32
"""Browsers in which one key is signed in: the one that was here longest ago gives way."""

WEB_SESSIONS_KNOWN: Final = 4_096
"""Browsers' sessions that are in memory, too: their requests need not ask the store."""

REFUSALS_KEPT: Final = 64
"""Keys whose last refusal moderators see."""

REFUSALS_KEPT_PER_ADDRESS: Final = 4
"""Keys of one address among them: identities are free."""

METRICS_CLIENTS: Final = 8
"""Connections at a time to the port of measurements."""

METRICS_TOKEN_LEAST: Final = 20
"""Characters of the token for /metrics, at least."""

METRICS_TOKEN_MOST: Final = 200
"""Characters of the token for /metrics, at most."""

LOGIN_LINK_SECONDS: Final = 900.0
"""Seconds that a link which signs a member in can be used."""

NOTE_LETTERS: Final = 200
"""Characters of an invite's note, or of the comment on a blocked key."""

BACKUP_BYTES: Final = 4 * 1024 * MiB
"""Bytes of a room's store in a backup: more is not brought back."""

DRAIN_SECONDS: Final = 30.0
"""How long tunnels may go on when a room ends, unless its operator says otherwise."""

DRAIN_SPREAD: Final = 5.0
"""Seconds over which the idle sessions of a room that ends leave at the most: they all come back at once otherwise."""

DRAIN_STEP: Final = 0.005
"""Seconds of that for each session."""

DRAIN_TICK: Final = 0.05
"""Seconds between two looks at the sessions of a room that ends."""

HANDOVER_GRACE: Final = 2.0
"""Seconds that a session has at least when another process takes over just after it has come."""

HANDOVER_SECONDS: Final = 60.0
"""How long a room waits for the one that is to take over."""

CONTROL_CLIENTS: Final = 256
"""Commands that may be connected to a control socket at a time. One more takes the place of the most silent one."""

CONTROL_LINE: Final = 4 * KiB
"""Bytes of a line that a command may send to a control socket."""

CONTROL_PAUSE: Final = 0.02
"""Seconds between two attempts of a command at a control socket that takes no more just now."""

CONTROL_CLOSE_SECONDS: Final = 1.0
"""How long a process that ends lets its control socket finish answers."""

SAME_SIGNAL_SECONDS: Final = 0.3
"""A signal to end that comes again so soon is the same one: `timeout` and shells send it to a process and its group."""

CONTROL_ANSWER: Final = 64 * MiB
"""Bytes of an answer that a command takes: 10,000 attendants have 2 MiB."""

CONTROL_SECONDS: Final = 10.0
"""How long a control socket and a command wait for each other's next line."""

PEER_SOCKETS: Final = 64
"""Processes of one data directory that have control sockets at a time, beside the one that holds the lock."""

DIRECT_AFTER_SECONDS: Final = 2.0
"""What the session of `connect --stdio` has before direct paths are loaded: ssh waits for its first bytes."""

LENT_STREAMS: Final = 64
"""Connections that a process carries for commands beside it (`connect --stdio`). One more goes its own way."""

LENT_FRIENDS: Final = 16
"""Friends to which it keeps sessions that it has opened for them: one more costs the session that is idle longest."""

LENT_KEEP_SECONDS: Final = 600.0
"""How long it keeps such a session that carries nothing: the next `ssh` begins at once."""

LENT_ANSWER_SECONDS: Final = 1.0
"""What a friend has to answer before a connection goes through a session with it: the machine may have slept."""

LENDING_SECONDS: Final = 3.0
"""How long a command waits for a process to have such a session. Then it goes its own way."""

SOCKET_PATH: Final = 100
"""Bytes of a path below which every system can bind a Unix socket to it: Linux takes 107, BSD 103."""

SIGN_INS_ASKED: Final = 4
"""Challenges of rooms that a client's user is asked about at a time; more are refused."""

MEMBERSHIP_SECONDS: Final = 60.0
"""How often a client that a room does not list asks whether it is a member by now."""

# ---------------------------------------------------------------- the web site of a room

SIGN_IN_REFUSAL_SECONDS: Final = 2.0
"""How long a refused sign-in that an app began takes at the least: a quick one would tell who is not online."""

SIGN_IN_SECONDS: Final = 180.0
"""How long a challenge of a sign-in waits for its solution, and a solved one for its browser."""

SIGN_INS: Final = 10_000
"""Challenges at a time: 5 MB. The oldest gives way."""

SIGN_INS_PER_ADDRESS: Final = 20
"""The same of one IPv4 address or IPv6 /64, whose oldest gives way."""

WEB_SESSION_NOTED: Final = 300.0
"""A visit is written down when the last one that was is so long ago: pages cost no write."""

WEB_CONNECTIONS: Final = 256
"""HTTP connections at a time, beside WebSockets and streams of events."""

WEB_CONNECTIONS_PER_ADDRESS: Final = 64
"""The same from one IPv4 address or IPv6 /64 (twice and four times as many from a /56 and a /48); not from proxies."""

WEB_HEADER: Final = 16 * KiB
"""Longest head of a request."""

WEB_HEADERS: Final = 100
"""Headers of a request."""

TLS_SECONDS: Final = 10.0
"""For the handshake of TLS, before a connection to a web site can ask for anything."""

WEB_HEADER_SECONDS: Final = 10.0
"""How long the head of a request may take."""

WEB_BODY: Final = 64 * KiB
"""Longest body of a request: a notice, in a form."""

WEB_DRAIN: Final = 2 * MiB
"""What is read and thrown away of a longer one, before its sender is told."""

WEB_DRAIN_SECONDS: Final = 1.0
"""How long that may pause."""

WEB_BODY_SECONDS: Final = 30.0
"""How long the body of a request may take, and a peer that takes none of an answer."""

WEB_IDLE_SECONDS: Final = 30.0
"""How long a connection may wait for its next request."""

WEB_FIELDS: Final = 200
"""Fields of one form."""

WEB_STREAMS: Final = 1_000
"""Streams of events at a time."""

WEB_STREAMS_PER_ADDRESS: Final = 8
"""The same of one IPv4 address or IPv6 /64: a browser with its tabs."""

WEB_STREAM_PING: Final = 15.0
"""Seconds between pings on a stream of events: less than proxies wait."""

WEB_STREAM_CHECK: Final = 5.0
"""Seconds after which a stream that has something to say asks again whether its browser is signed in."""

WEB_BUCKETS: Final = 65_536
"""Addresses whose requests are counted, at a time: 20 MB. The one that came longest ago is forgotten."""

WEB_REQUESTS: Final = 600
"""Requests a minute of one IPv4 address or IPv6 /64."""

WEB_CLAIMS: Final = 20
"""Invites a minute that one address may look at, make or claim."""

WEB_ALIASES: Final = 60
"""Aliases a minute that one address may look up."""

WEB_MISSES: Final = 20
"""Pages and aliases a minute that are not there and that one address may ask for: names are to be guessed slowly."""

WEB_SIGN_INS: Final = 20
"""Sign-ins a minute that one address may begin."""

PASSWORD_TRIES: Final = 5
"""Passwords that may be tried for one key in `PASSWORD_SECONDS`."""

PASSWORD_TRIES_PER_ADDRESS: Final = 20
"""The same from one address, whatever the keys."""

PASSWORD_SECONDS: Final = 900.0
"""The time in which they are counted."""

PASSWORD_LETTERS: Final = 12
"""Characters of a password, at the least."""

PASSWORD_LETTERS_MOST: Final = 256
"""The same at the most."""

WEB_WORK: Final = 32
"""Passwords and QR codes that wait for the web site's thread, a tenth of a second each."""

INVITES_PER_KEY: Final = 100
"""Invites a day that one key may make; in an open room also one address without a key."""

# ---------------------------------------------------------------- pages of a room's web site

WEB_PAGE: Final = 50
"""Members, invites, aliases or blocked keys on one page."""

WEB_MEMBERS_AT_ONCE: Final = 500
"""Members that are ordered or looked through in one turn of the loop: a millisecond."""

WEB_AUDIT_PAGE: Final = 100
"""Lines of the audit log on one page."""

WEB_LIVE_PEOPLE: Final = 60
"""Peers that the first page after sign-in shows: it is sent again with each change, to all who look at it."""

WEB_PAGES_DRAWN: Final = 64
"""Kinds of the first page that are kept as they were drawn: 3 MB at the worst."""

WEB_LIVE_SECONDS: Final = 1.0
"""Changes of the room within so long reach a browser together."""

NOTICE_LETTERS: Final = 20_000
"""Characters of a notice: 60 KB in a form, at the worst."""

WEB_QUERY: Final = 100
"""Characters of what is searched for."""

CERTIFICATE_LOOK_SECONDS: Final = 30.0
"""How often a site looks whether its certificate was renewed."""

CERTIFICATE_JITTER: Final = 0.1
"""A certificate is renewed when a third of its life is left, or by up to this part of that earlier, at random."""

CERTIFICATE_RETRY: Final = 180.0
"""Seconds until a certificate that was not given is asked for again, the first time. With the next number: four times
in the first hour, of the five failures an hour that Let's Encrypt takes."""

CERTIFICATE_RETRY_FACTOR: Final = 3.0
"""How much longer each such pause is than the one before."""

CERTIFICATE_RETRY_MOST: Final = 6 * 3_600.0
"""The longest such pause."""

CERTIFICATE_WAIT_MOST: Final = 7 * 86_400.0
"""The longest pause that a certificate authority may ask for: a week, as the windows of its limits."""

ACME_REQUEST_SECONDS: Final = 30
"""For one request to a certificate authority."""

ACME_SECONDS: Final = 120.0
"""How long a certificate authority may look at port 80 before it decides."""

ACME_PROCESS_SECONDS: Final = 300.0
"""For the whole process that gets a certificate."""

ALIAS_CERTIFICATES: Final = 100
"""Certificates for sub-domains of aliases, in all."""

ALIAS_CERTIFICATES_BURST: Final = 5.0
"""New ones that visitors can cause at once."""

ALIAS_CERTIFICATES_PER_DAY: Final = 6.0
"""The same in the long run: 47 a week with the burst, of the 50 that Let's Encrypt gives to one domain."""
