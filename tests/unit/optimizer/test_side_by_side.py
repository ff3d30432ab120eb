"""Rooms side by side: answers in order, memory of one's own, faults that are not swallowed."""

from __future__ import annotations

import os
import threading

import pytest

from services.optimizer.core.side_by_side import cores, side_by_side


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_answers_come_in_the_order_of_the_questions(threads):
    answers = side_by_side(lambda item, scratch: (item, scratch), range(40), threads)
    assert [item for item, _ in answers] == list(range(40))
    assert len({id(scratch) for _, scratch in answers}) <= threads


def test_two_at_work_never_share_memory():
    meeting = threading.Barrier(2, timeout=30)

    def task(item, scratch):
        meeting.wait()  # both are inside at once
        return scratch

    first, second, third, fourth = side_by_side(task, range(4), 2)
    assert first is not second
    assert {id(third), id(fourth)} == {id(first), id(second)}, "memory is used again"


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fault_in_one_room_is_the_callers(threads):
    def task(item, scratch):
        if item == 3:
            raise ValueError("room 3")
        return item

    with pytest.raises(ValueError, match="room 3"):
        side_by_side(task, range(6), threads)


def test_no_more_threads_than_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    assert cores() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert cores() == 1
        assert set(side_by_side(lambda _, __: threading.get_ident(), range(4))) == {
            threading.get_ident()
        }
    finally:
        os.sched_setaffinity(0, allowed)
