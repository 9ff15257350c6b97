"""How long a worker that ended waits for its next start."""

from __future__ import annotations

import pytest

from publisher.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY, next_pause, said_of


@pytest.mark.parametrize(
    ("pause", "ran", "wanted"),
    [
        (0.0, 0.0, FIRST_PAUSE),
        (FIRST_PAUSE, 0.0, 0.4),
        (0.4, STEADY - 1, 0.8),
        (20.0, 0.0, LONGEST_PAUSE),
        (LONGEST_PAUSE, 0.0, LONGEST_PAUSE),
        (LONGEST_PAUSE, STEADY, FIRST_PAUSE),
        (0.0, STEADY * 10, FIRST_PAUSE),
    ],
)
def test_a_worker_that_keeps_ending_waits_longer_until_it_was_well_for_a_while(
    pause: float, ran: float, wanted: float
) -> None:
    assert next_pause(pause, ran) == pytest.approx(wanted)


def test_how_a_worker_ended_is_said() -> None:
    assert (said_of(-9), said_of(1)) == ("signal 9", "exit code 1")
