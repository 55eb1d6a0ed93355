"""Shares of a bounded queue: how much a client may put in, and in which order work is done; a reserve for small work.

Room. Every piece of work takes part of a queue, the whole of which is 1. A group may hold as much as is left free (the
dynamic threshold of Choudhury and Hahne, 1998): one alone gets half, and the more there are, the less each may add. The
last tenth is left to pieces of less than a thousandth, of which each member of a group may hold as much as is free:
neighbours behind the same proxy do not shut it out. A piece counts for a quarter at most, so that a large one is not
shut out of a busy queue for ever; an empty queue takes any.

Turns. Work is ranked by virtual finish times: a client's next piece begins, on a clock of work done, where its last one
ended, and what would be finished first comes first (fair queueing, with the clock of Goyal, Vin and Cheng, 1996). So a
client that has used little comes before one that has used much, and a short piece before a long one. Members of one
group, such as the connections of one address, divide the share of the group.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from msgspec import Struct

LARGEST = 0.25  # room that one piece of work counts for at most
RESERVE = 0.1  # room that is left to small pieces
SMALL = 0.001  # room of a small piece
_FORGOTTEN = 64  # members without work that are kept before they are looked through


class Account(Protocol):
    """What pays for the work of a client: the account of its key."""

    def charge(self, task: str, items: int, values: int) -> None:
        """Take work of `task` out of the account; raises where there is not enough left."""


class Client(NamedTuple):
    """A client: its `group` (a key or an address) has a share of the whole, and its `member` (a connection, or an
    address that uses the key) a share of that.
    """

    group: str
    member: object
    account: Account | None = None  # None: nothing is counted


ANONYMOUS = Client("", "")  # for work of the service itself, and for connections without an address


class Group(Struct, eq=False):
    """Members that divide one share."""

    name: str
    room: float = 0.0  # that their work takes
    members: int = 0  # that are remembered
    active: int = 0  # of these: with work


class Member(Struct, eq=False):
    """One of a group's members."""

    group: Group
    room: float = 0.0  # that its work takes
    finish: float = 0.0  # virtual time at which all its work so far is done
    pending: int = 0  # pieces of work


class Claim(Struct, eq=False):
    """A piece of work that was admitted."""

    member: Member
    room: float
    seconds: float
    start: float  # virtual time at which it begins
    rank: float  # virtual time at which it is done: the lowest comes first
    weight: int  # virtual seconds for each second of its work
    released: bool = False


class FairShare:
    """The room and the turns of one queue; used by one thread, but for `begin`, which another one may call."""

    def __init__(self) -> None:
        self.room = 0.0  # taken
        self.seconds = 0.0  # that the work is expected to last
        self._pending = 0
        self._active_groups = 0
        self._clock = 0.0  # virtual time: no less than the start of what was begun last
        self._groups: dict[str, Group] = {}
        self._members: dict[Client, Member] = {}
        self._next_sweep = _FORGOTTEN

    def fits(self, client: Client, room: float) -> bool:
        """Whether `client` may put in another piece of work that takes `room`."""
        room = min(room, LARGEST)
        # An empty queue takes any piece, and one in which all hold less than each of them may takes this one.
        if not self._pending or 2 * self.room + room <= 1.0 - RESERVE:
            return True
        holder: Group | Member | None
        if room <= SMALL:
            free, holder = 1.0 - self.room, self._members.get(client)
        else:
            free, holder = 1.0 - RESERVE - self.room, self._groups.get(client.group)
        return room <= free and (holder is None or not holder.room or holder.room + room <= free)

    def claim(self, client: Client, room: float, seconds: float) -> Claim:
        """Take `room` for work of `client` that is expected to last `seconds`; `fits` is not asked again."""
        member = self._members.get(client)
        if member is None:
            member = self._add(client)
        group = member.group
        room = min(room, LARGEST)
        self.room += room
        self.seconds += seconds
        group.room += room
        member.room += room
        self._pending += 1
        if not member.pending:
            self._active_groups += not group.active
            group.active += 1
        member.pending += 1
        start = max(self._clock, member.finish)
        member.finish = start + seconds * group.active
        return Claim(member, room, seconds, start, member.finish, group.active)

    def begin(self, claim: Claim) -> None:
        """The work of `claim` begins: what comes later starts no earlier."""
        self._clock = max(self._clock, claim.start)

    def charge(self, claim: Claim, seconds: float) -> None:
        """The work of `claim` took `seconds` in the end, and the next turn of its client depends on that."""
        claim.member.finish += claim.weight * (seconds - claim.seconds)

    def release(self, claim: Claim) -> None:
        """The work of `claim` is done, or dropped."""
        if claim.released:
            return
        claim.released = True
        member, group = claim.member, claim.member.group
        self._pending -= 1
        member.pending -= 1
        if not self._pending:  # all are equal again
            self.room = self.seconds = 0.0
            self._active_groups = 0
            self._members.clear()
            self._groups.clear()
            self._next_sweep = _FORGOTTEN
            return
        # As fast as each group's share of the work goes on, so that newcomers do not hold up the clock.
        self._clock += claim.seconds / self._active_groups
        if not member.pending:
            group.active -= 1
            self._active_groups -= not group.active
        self.room -= claim.room
        self.seconds -= claim.seconds
        group.room -= claim.room
        member.room -= claim.room
        if len(self._members) > self._next_sweep:
            self._sweep()

    def _add(self, client: Client) -> Member:
        group = self._groups.get(client.group)
        if group is None:
            group = self._groups[client.group] = Group(client.group)
        group.members += 1
        member = self._members[client] = Member(group)
        return member

    def _sweep(self) -> None:
        """Forget members that have no work and have not used more than their share."""
        for client, member in list(self._members.items()):
            if not member.pending and member.finish <= self._clock:
                del self._members[client]
                member.group.members -= 1
                if not member.group.members:
                    del self._groups[client.group]
        self._next_sweep = 2 * len(self._members) + _FORGOTTEN
