import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from longspan.serve.gateway.admission import MAX_AUXILIARY, MAX_WAITING, Admission, Room
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.keys import Key, KeyLimits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: str = "alice", **limits: int) -> Key:
    return Key(name=name, sha256="0" * 64, created=datetime.now(UTC), limits=KeyLimits(**limits))


def asked(admission: Admission, key: Key, tokens: int = 0) -> str | None:
    """What a request is told to wait; None for one that is let in."""

    async def ask() -> None:
        async with admission.admit(key) as usage:
            usage.charged = tokens

    try:
        asyncio.run(ask())
    except Refusal as refusal:
        assert refusal.status == 429
        return refusal.headers["retry-after"]
    return None


def test_requests_of_any_minute_are_counted():
    clock = Clock()
    admission, alice = Admission(clock), key(requests_per_minute=2)
    assert asked(admission, alice) is None
    clock.now += 40
    assert asked(admission, alice) is None
    clock.now += 10.5
    assert asked(admission, alice) == "10"
    assert asked(admission, key("bob", requests_per_minute=2)) is None
    clock.now += 9.5
    assert asked(admission, alice) is None
    assert asked(admission, alice) == "40"


def test_tokens_of_requests_that_ended_are_counted():
    clock = Clock()
    admission, alice = Admission(clock), key(tokens_per_minute=100)
    assert asked(admission, alice, tokens=60) is None
    clock.now += 20
    assert asked(admission, alice, tokens=500) is None
    assert asked(admission, alice) == "60"
    clock.now += 60
    assert asked(admission, alice) is None


def test_a_changed_limit_holds_at_once():
    admission = Admission(Clock())
    assert asked(admission, key(requests_per_minute=1)) is None
    assert asked(admission, key(requests_per_minute=1)) == "60"
    assert asked(admission, key(requests_per_minute=2)) is None
    assert asked(admission, key()) is None


def test_requests_at_once_are_counted_and_freed_however_they_end():
    admission, alice = Admission(Clock()), key(concurrent=1)

    async def fail() -> None:
        async with admission.admit(alice):
            with pytest.raises(Refusal, match="1 requests at once"):
                async with admission.admit(alice):
                    raise AssertionError("let in")
            raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(fail())
    assert asked(admission, alice) is None


def test_the_next_request_waits_for_the_last_one_to_leave(monkeypatch):
    monkeypatch.setattr("longspan.serve.gateway.admission.PATIENCE_SECONDS", 20)
    admission, alice = Admission(Clock()), key(concurrent=1)

    async def follow() -> None:
        async with admission.admit(alice):
            following = asyncio.create_task(admission.admit(alice).__aenter__())
            await asyncio.sleep(0)
            assert not following.done()
        await following

    asyncio.run(follow())


def test_one_key_does_not_take_all_of_the_room_with_requests_that_cost_no_tokens():
    admission, alice = Admission(Clock()), key(concurrent=1)

    with ExitStack() as stack:
        for _ in range(MAX_AUXILIARY):
            stack.enter_context(admission.admit_auxiliary(alice))
        with pytest.raises(Refusal, match="of this kind at once"), admission.admit_auxiliary(alice):
            raise AssertionError("let in")
        # The model may be asked all the same.
        assert asked(admission, alice) is None
    with admission.admit_auxiliary(alice):
        pass


def test_what_runs_counts_with_what_it_has_reserved_or_used_and_the_rest_comes_back():
    clock = Clock()
    admission, alice = Admission(clock), key(tokens_per_minute=100)

    async def run() -> None:
        async with admission.admit(alice) as usage:
            usage.reserved = 90
            async with admission.admit(alice) as other:
                other.reserved = 10
                with pytest.raises(Refusal, match="those that run may need the rest") as refused:
                    await admission.admit(alice).__aenter__()
                assert refused.value.headers["retry-after"] == "1"
                other.charged = 1
            usage.known = lambda: 99  # It has used more than it had reserved.
            with pytest.raises(Refusal):
                await admission.admit(alice).__aenter__()
            usage.charged = 5

    asyncio.run(run())
    assert asked(admission, alice, tokens=94) is None
    assert asked(admission, alice) == "60"


def test_a_request_larger_than_the_limit_is_let_in_alone():
    admission, alice = Admission(Clock()), key(tokens_per_minute=100)

    async def run() -> None:
        async with admission.admit(alice) as usage:
            usage.reserved = 131_072
            with pytest.raises(Refusal):
                await admission.admit(alice).__aenter__()

    asyncio.run(run())
    assert asked(admission, alice) is None


def test_a_few_requests_of_a_key_wait_and_no_more():
    admission, alice = Admission(Clock()), key(concurrent=1)

    async def run() -> None:
        async with admission.admit(alice):
            waiting = [
                asyncio.create_task(admission.admit(alice).__aenter__()) for _ in range(MAX_WAITING)
            ]
            await asyncio.sleep(0)
            with pytest.raises(Refusal, match="1 requests at once"):
                # At once: there is no time to wait in.
                await asyncio.wait_for(admission.admit(alice).__aenter__(), 0.01)
            for each in waiting:
                each.cancel()

    asyncio.run(run())


def test_one_key_takes_no_more_than_its_share_of_the_room():
    room = Room(4, share=0.5)
    with room.taken("alice"), room.taken("alice"):
        with pytest.raises(Refusal, match="as many as one key may have here") as refused:
            room.taken("alice").__enter__()
        assert refused.value.status == 429
        with room.taken("bob"), room.taken():
            with pytest.raises(Refusal, match="The service is busy: 4") as refused:
                room.taken("carol").__enter__()
            assert refused.value.status == 503
    with room.taken("alice"):
        pass
    with Room(1).taken("alice"):
        pass


def test_requests_that_have_used_the_same_are_told_apart():
    admission, alice = Admission(Clock()), key(tokens_per_minute=100)

    async def run() -> None:
        async with admission.admit(alice) as first:
            async with admission.admit(alice):
                pass
            first.reserved = 100
            with pytest.raises(Refusal, match="those that run"):
                await admission.admit(alice).__aenter__()
            first.known = lambda: 7

    asyncio.run(run())
