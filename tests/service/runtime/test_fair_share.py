"""Shares of a queue: who may put in more, who comes first, and that nothing is kept of those who have left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.runtime.fair_share import LARGEST, RESERVE, SMALL, Claim, Client, FairShare


def fill(share: FairShare, group: str, room: float, most: int = 10_000) -> list[Claim]:
    """As many pieces as `group` may put in, each by a connection of its own."""
    claims: list[Claim] = []
    while len(claims) < most and share.fits(Client(group, len(claims)), room):
        claims.append(share.claim(Client(group, len(claims)), room, 1.0))
    return claims


def test_one_client_gets_half_of_what_is_not_reserved() -> None:
    share = FairShare()
    fill(share, "a", 0.002)
    assert share.room == pytest.approx((1 - RESERVE) / 2, abs=0.002)


@pytest.mark.parametrize(("room", "fits"), [(0.099, True), (0.1, True), (0.101, False)])
def test_a_client_may_add_what_leaves_as_much_free_as_it_then_holds(room: float, fits: bool) -> None:
    share = FairShare()
    for _ in range(2):
        share.claim(Client("a", 0), 0.2, 1.0)
    assert share.fits(Client("a", 1), room) == fits
    assert share.fits(Client("b", 0), room)


def test_a_newcomer_finds_room_where_others_have_all_that_they_may() -> None:
    share = FairShare()
    for number in range(5):
        assert fill(share, f"client {number}", 0.002)
        assert not share.fits(Client(f"client {number}", "new connection"), 0.002)
    assert share.room < 1 - RESERVE


def test_small_pieces_find_room_where_large_ones_do_not() -> None:
    share = FairShare()
    for number in range(900):
        fill(share, f"client {number}", SMALL * 1.01, most=1)
    assert not share.fits(Client("late", 0), SMALL * 1.01)
    assert share.fits(Client("late", 0), SMALL)
    assert share.fits(Client("late", 0), SMALL * 0.99)


def test_small_pieces_find_room_beside_large_ones_of_their_own_group() -> None:
    share = FairShare()
    fill(share, "proxy", 0.002)
    assert not share.fits(Client("proxy", "small"), SMALL * 1.01)
    assert share.fits(Client("proxy", "small"), SMALL)
    claims = [share.claim(Client("proxy", "small"), SMALL, 1.0)]
    while share.fits(Client("proxy", "small"), SMALL):
        claims.append(share.claim(Client("proxy", "small"), SMALL, 1.0))
    assert share.room < 1 - RESERVE  # one member leaves as much free as it holds
    for claim in claims:
        share.release(claim)
    assert share.fits(Client("proxy", "small"), SMALL)


def test_an_empty_queue_takes_any_piece_and_a_busy_one_counts_a_quarter_at_most() -> None:
    share = FairShare()
    assert share.fits(Client("a", 0), 50.0)
    share.claim(Client("a", 0), 50.0, 1.0)
    assert share.room == LARGEST
    assert share.fits(Client("b", 0), 50.0)


def test_work_goes_round_between_clients_and_within_each_between_its_connections() -> None:
    share = FairShare()
    starts = [share.claim(Client(group, member), 0.001, 1.0).start for group, member in ("a1", "a2", "b1", "a1", "b1")]
    assert starts == [0, 0, 0, 1, 1]
    share.claim(Client("a", "3"), 0.001, 1.0)
    assert share.claim(Client("b", "1"), 0.001, 1.0).start == 2.0
    assert share.claim(Client("a", "3"), 0.001, 1.0).start == 3.0  # its group's share is divided by three


def test_who_comes_late_is_not_ranked_before_what_was_begun() -> None:
    share = FairShare()
    first = [share.claim(Client("a", 0), 0.001, 1.0) for _ in range(5)]
    share.begin(first[3])
    assert share.claim(Client("b", 0), 0.001, 1.0).start == first[3].start == 3.0


def test_a_short_piece_comes_before_long_ones_that_came_earlier() -> None:
    share = FairShare()
    long_ones = [share.claim(Client("a", number), 0.01, 1.0) for number in range(8)]
    short = share.claim(Client("a", "small"), 0.0001, 0.001)
    assert short.rank < min(claim.rank for claim in long_ones)


def test_releasing_twice_counts_once() -> None:
    share = FairShare()
    claim = share.claim(Client("a", 0), 0.1, 1.0)
    other = share.claim(Client("b", 0), 0.1, 2.0)
    share.release(claim)
    share.release(claim)
    assert [share.room, share.seconds] == pytest.approx([0.1, 2.0])
    share.release(other)
    assert (share.room, share.seconds) == (0, 0)


def test_clients_that_have_left_are_forgotten_while_others_stay() -> None:
    share = FairShare()
    staying = share.claim(Client("stays", 0), 0.01, 1.0)
    for number in range(10_000):
        claim = share.claim(Client(f"goes {number % 300}", number), 0.0001, 1e-6)
        share.begin(claim)
        share.release(claim)
    assert len(share._members) < 1_000
    assert len(share._groups) < 1_000
    share.release(staying)
    assert not share._members
    assert not share._groups


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 0.4), st.booleans()), max_size=80))
def test_room_is_never_exceeded_nor_lost(pieces: list[tuple[int, int, float, bool]]) -> None:
    share = FairShare()
    claims: list[Claim] = []
    for group, member, room, leave in pieces:
        client = Client(str(group), member)
        if share.fits(client, room):
            claims.append(share.claim(client, room, room))
        if leave and claims:
            share.release(claims.pop(0))
        assert share.room == pytest.approx(sum(claim.room for claim in claims))
        assert share.room <= 1 + 1e-9
    for claim in claims:
        share.release(claim)
    assert share.room == 0
