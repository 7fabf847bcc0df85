"""The limiter on each storage: never more than allowed, all or nothing, and true to the wait that it tells."""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_invitations.limits import Budget, Limiter, network, parse
from flask_invitations.tokens import Blinder

PROCESSES = 8


def limiter(uri: str) -> Limiter:
    return Limiter(uri, {}, Blinder("the key", "https://app.example.com/#{token}"))


def budget(rate: str, scope: str = "invite", key: str | None = None) -> Budget:
    """A budget that no other test has spent from."""
    return Budget(scope, key or uuid.uuid4().hex, parse(rate))


def test_as_many_as_allowed_and_no_more(storage: str) -> None:
    """R4: so many calls are let through, the next ones are told to wait; another's are none of theirs."""
    ours, theirs, one = budget("3/minute"), budget("3/minute"), limiter(storage)
    assert [one.take([ours]) for _ in range(3)] == [None] * 3
    assert all(0 < (one.take([ours]) or 0) <= 62 for _ in range(3))
    assert one.take([theirs]) is None


def test_all_or_nothing(storage: str) -> None:
    """R4: a call that counts for many is counted whole or not at all, and a refused one takes nothing away."""
    ours, one = budget("10/minute"), limiter(storage)
    assert one.take([ours], 7) is None
    assert one.take([ours], 4) is not None
    assert one.take([ours], 3) is None
    assert one.take([ours]) is not None


def test_one_limit_of_several(storage: str) -> None:
    """Where one of its limits has no room, a call is counted in none; it waits for the one that takes longest."""
    wide, tight, one = budget("5/minute"), budget("1/second;2/hour", "tenant"), limiter(storage)
    assert one.take([wide, tight]) is None
    assert one.take([wide, tight]) in (1, 2)  # memcached's second is not ours
    assert one.take([wide], 4) is None
    assert (one.take([wide, tight]) or 0) > 50
    assert one.take([tight], 2) is not None
    both = budget("9/second;2/hour", "token")
    assert [one.take([both]) for _ in range(2)] == [None, None]
    assert (one.take([both]) or 0) > 50


def test_the_wait_is_true(storage: str) -> None:
    """Whoever waits for as long as was said gets through, and the calls that were let through meanwhile still count."""
    ours, one = budget("2/second"), limiter(storage)
    assert [one.take([ours]) for _ in range(2)] == [None, None]
    for _ in range(2):
        wait = one.take([ours])
        assert wait is not None
        time.sleep(wait)
        assert one.take([ours]) is None
        one.take([ours])


def test_the_wait_of_many(storage: str) -> None:
    """The same of a call that counts for more than one: it waits until as many are forgotten as it takes."""
    ours, one = budget("5/2 seconds"), limiter(storage)
    assert one.take([ours], 2) is None
    time.sleep(1)
    assert one.take([ours], 3) is None
    one_more, few, many = one.take([ours]), one.take([ours], 2), one.take([ours], 5)
    assert one_more is not None
    assert few is not None
    assert many is not None
    assert one_more <= few <= 1 + 2 * storage.startswith("memcached")  # which forgets all at once, by whole seconds
    assert few <= many <= 3
    time.sleep(many)
    assert one.take([ours], 5) is None


def _spend(one: Limiter, ours: Budget, costs: list[int]) -> int:
    """How many were let through of calls that count for so many."""
    return sum(cost for cost in costs if one.take([ours], cost) is None)


def test_threads(storage: str) -> None:
    """R4: 50 threads at once, and never one more than allowed; by a storage that keeps each call none fewer either."""
    ours, one = budget("60/minute"), limiter(storage)
    assert _at_once(50, partial(_spend, one, ours, [1, 1])) == 60


def test_threads_of_many(storage: str) -> None:
    """R4: the same of calls that count for more than one."""
    ours, one = budget("60/minute"), limiter(storage)
    done = _at_once(20, partial(_spend, one, ours, [7, 7]))
    assert done <= 60
    if not storage.startswith("memcached"):
        assert done == 56


def test_in_memory_all_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: of two calls at once that want the same two places one gets both; neither takes what the other one needs."""
    one, places = limiter("memory://"), [budget("1/minute"), budget("1/minute", "tenant")]
    hit = one._window.hit

    def slow(*given: Any, **how: Any) -> bool:
        time.sleep(0.1)
        return hit(*given, **how)

    monkeypatch.setattr(one._window, "hit", slow)
    orders = iter((places, places[::-1]))
    assert _at_once(2, lambda: int(one.take(next(orders)) is None)) == 1


def test_whoever_was_faster_shows_at_the_tightest(monkeypatch: pytest.MonkeyPatch) -> None:
    """R4: where somebody else is counted between the look and the count, a call is counted in none of its limits."""
    one, wide, tight = limiter("memory://"), budget("2/minute"), budget("1/minute", "tenant")
    hit = one._window.hit

    def late(*given: Any, **how: Any) -> bool:
        monkeypatch.setattr(one._window, "hit", hit)
        assert hit(tight.rates[0], f"flask-invitations/tenant/{tight.key}")
        return hit(*given, **how)

    monkeypatch.setattr(one._window, "hit", late)
    assert one.take([wide, tight]) is not None
    assert one.take([wide], 2) is None


def _at_once(count: int, call: Callable[[], int]) -> int:
    start, spent = threading.Barrier(count), list[int]()

    def run() -> None:
        start.wait()
        spent.append(call())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(spent)


def _process(uri: str, rates: Mapping[str, str], key: str, at: float, seed: int) -> int:
    """One of several processes: how many it got through, of each call the same in two budgets."""
    one, ours = limiter(uri), [budget(rate, scope, key) for scope, rate in rates.items()]
    costs = [random.Random(seed + number).randint(1, 5) if seed else 1 for number in range(100)]
    time.sleep(max(0, at - time.time()))
    return sum(cost for cost in costs if one.take(ours, cost) is None)


def _imported(number: int) -> int:
    """A process that has come so far has imported what it needs."""
    time.sleep(0.05)
    return number


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    """Processes of their own."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as made:
        yield made


@pytest.mark.soak
@pytest.mark.parametrize("mixed", [False, True])
def test_processes(storage: str, pool: Any, mixed: bool) -> None:
    """R4: several processes on one server, and never one more than allowed, be it calls for one or for several."""
    if storage == "memory://":
        return  # each process counts for itself, as docs/settings.md says
    key = uuid.uuid4().hex
    rates = {"invite": "300/hour", "tenant": "200/hour"}
    pool.map(_imported, range(PROCESSES))
    calls = [(storage, rates, key, time.time() + 0.5, mixed * (1000 * number + 1)) for number in range(PROCESSES)]
    spent = sum(pool.starmap(_process, calls, chunksize=1))
    assert spent <= 200
    if not mixed:
        assert spent == 200
    elif not storage.startswith("memcached"):
        assert spent > 195


def test_keys_tell_nothing(redis_url: str) -> None:
    """K5: nobody who looks into the storage learns whose calls were counted."""
    import redis

    one = limiter(redis_url)
    told = ("10.1.2.3", "ann@example.com", "4711")
    for each in told:
        assert one.take([Budget("accept", one.name("accept", each), parse("3/minute"))]) is None
    client: Any = redis.Redis.from_url(redis_url)
    kept = b"".join(key + b"".join(client.lrange(key, 0, -1)) for key in client.keys("*flask-invitations/accept/*"))
    assert kept
    assert [each for each in told if each.encode() in kept] == []


def test_names() -> None:
    """A key depends on everything that it is made of, on the app and on its SECRET_KEY; two parts are never one."""
    name, same = (Blinder("key", "https://a.example/#{token}") for _ in range(2))
    others = [
        name("invite", 12, 3),
        name("tenant", 1, 23),
        Blinder("other", "https://a.example/#{token}")("invite", 1, 23),
        Blinder("key", "https://b.example/#{token}")("invite", 1, 23),
    ]
    assert name("invite", 1, 23) == same("invite", 1, 23)
    assert len({name("invite", 1, 23), *others}) == 5


@pytest.mark.parametrize(
    ("remote_addr", "counted_for"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unix:", "unix:"),
        ("192.0.2.7:50443", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:50443", "192.0.2.7"),
        ("[2001:db8:1:2::1]:50443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("192.0.2.7:x", "192.0.2.7:x"),
    ],
)
def test_network(remote_addr: str, counted_for: str) -> None:
    """G3: of IPv6 a /64 is one caller, and an IPv4 address is itself however it is written. Some proxies pass on the
    port of the connection, which is another one each time."""
    assert network(remote_addr) == counted_for


@given(st.one_of(st.ip_addresses().map(str), st.text(max_size=45)))
def test_network_of_anything(remote_addr: str) -> None:
    """Whatever a proxy passes on as an address, it is counted for something, and always for the same."""
    assert network(network(remote_addr).removesuffix("/64")) == network(remote_addr)
