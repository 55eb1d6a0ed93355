"""When a substitute starts; the processes themselves are driven by the integration tests."""

from __future__ import annotations

from service.server.supervisor import _LATEST, _STEADY, _Slot


def test_who_dies_again_and_again_is_replaced_later_and_later() -> None:
    place, now, waited = _Slot(), 1000.0, []
    for _ in range(8):
        place.started = now
        place.emptied(now + 0.5)
        waited.append(place.due - now - 0.5)
        now = place.due
    assert waited == [1, 2, 4, 8, 16, _LATEST, _LATEST, _LATEST]


def test_who_has_served_for_a_while_is_replaced_at_once() -> None:
    place = _Slot()
    place.started = 1000.0
    place.emptied(1000.5)
    place.started = place.due
    place.emptied(place.due + _STEADY + 1)
    assert place.due == place.started + _STEADY + 1
