from __future__ import annotations

from consumers.flights import Flights
from embark.inputs import text_input
from embark.keys import Key, digest
from embark.queue.base import Delivery, Lane, Request


def key(name: str) -> Key:
    return Key("m", "0" * 16, digest(text_input(name)))


def delivery(name: str, receipt: int) -> Delivery:
    request = Request(key(name), text_input(name), Lane.INTERACTIVE)
    return Delivery(request, 1, 0.0, b"%d" % receipt)


def test_of_several_for_one_key_the_first_leads_and_the_others_land_with_it() -> None:
    flights = Flights()
    first, second, third = (delivery("a", number) for number in range(3))
    assert [flights.lead(one, key("a")) for one in (first, second, third)] == [True, False, False]
    assert flights.land(first) == [second, third]
    assert flights.land(first) == []
    assert flights.lead(second, key("a"))


def test_leading_again_is_no_following() -> None:
    flights = Flights()
    one = delivery("a", 1)
    assert flights.lead(one, key("a"))
    assert flights.lead(one, key("a"))
    assert flights.keys(one) == [key("a")]


def test_followers_of_followers_land_too() -> None:
    flights = Flights()
    by_bytes, by_url, same_url = delivery("bytes", 1), delivery("url", 2), delivery("url", 3)
    assert flights.lead(by_bytes, key("bytes"))
    assert flights.lead(by_url, key("url"))
    assert not flights.lead(same_url, key("url"))
    assert not flights.lead(by_url, key("bytes"))
    assert flights.land(by_bytes) == [by_url, same_url]
    assert flights.lead(same_url, key("url"))


def test_a_delivery_leads_every_key_it_is_given() -> None:
    flights = Flights()
    by_url = delivery("url", 1)
    flights.lead(by_url, key("url"))
    flights.lead(by_url, key("bytes"))
    assert flights.keys(by_url) == [key("url"), key("bytes")]
    flights.land(by_url)
    assert flights.keys(by_url) == [key("url")]
    assert flights.lead(delivery("bytes", 2), key("bytes"))
