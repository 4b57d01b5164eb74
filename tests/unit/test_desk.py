"""The desk between a run and its workers."""

import asyncio

from batchgen.crew import Desk
from batchgen.crew.messages import Alive, CalledOff, Gone, News, Told


async def test_who_comes_when_all_have_been_sent_home_goes_home_as_well() -> None:
    desk = Desk()
    await desk.close()
    async with asyncio.timeout(5):
        await desk.tell("late", ())
        assert await desk.pull("late") is None
        assert await desk.pull("later") is None
        assert await desk.news() == [News("late", Alive())]


async def test_a_dashboard_that_shows_the_desk_shows_nothing_that_lies_there() -> None:
    desk = Desk()
    await desk.tell("somebody", [Told("a secret")])
    assert "secret" not in repr(desk)


async def test_who_waits_when_all_are_sent_home_goes_home() -> None:
    desk = Desk()
    waiting = asyncio.ensure_future(desk.pull("waits"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await desk.close()
    async with asyncio.timeout(5):
        assert await waiting is None


async def test_what_is_lost_is_sent_home_and_has_no_orders_any_more() -> None:
    desk = Desk()
    waiting = asyncio.ensure_future(desk.pull("lost"))
    await asyncio.sleep(0)
    await desk.lose("lost")
    await desk.lose("lost")
    assert await desk.news() == [News("lost", Gone())], "once, or it would be looked after twice"
    await desk.order([CalledOff(0)])
    async with asyncio.timeout(5):
        assert await waiting is None
        assert await desk.pull("lost") is None
