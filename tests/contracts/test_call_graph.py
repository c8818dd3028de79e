from __future__ import annotations

import pytest

from contracts.call_graph import problems_of_calls
from contracts.method import Method
from contracts.policy import Policy, Retry
from contracts.services import all_methods
from solo60.example.v1.echo_pb2 import EchoRequest, EchoResponse


def graph(attempts: int = 1, **calls: tuple[float, tuple[str, ...]]) -> dict[str, Method]:
    """Return methods by name, each with its deadline in seconds and its callees. All are attempted `attempts` times."""
    retry = Retry(attempts, 0.05, 1.0, 2.0, ()) if attempts > 1 else None
    return {
        name: Method(
            path=f"/{name}",
            service="solo60.test.v1.TestService",
            name=name,
            request_type=EchoRequest,
            response_type=EchoResponse,
            request_streaming=False,
            response_streaming=False,
            policy=Policy(deadline_s=deadline_s, scopes=frozenset(), calls=called, retry=retry),
        )
        for name, (deadline_s, called) in calls.items()
    }


@pytest.mark.requirement("C6")
def test_our_call_graph_is_sound() -> None:
    """The call graph of our contracts has no cycle, no callee with a longer deadline and no excess of retries."""
    assert problems_of_calls(all_methods()) == []


@pytest.mark.requirement("C6")
def test_a_cycle_is_named_in_the_order_of_its_calls() -> None:
    """A cycle over three methods is reported with its methods in the order of their calls."""
    cycle = graph(a=(1, ("b",)), b=(1, ("c",)), c=(1, ("a",)))

    [problem] = problems_of_calls(cycle)

    ways_round = ("a calls b calls c calls a", "b calls c calls a calls b", "c calls a calls b calls c")
    assert problem in {f"{way}: calls must not form a cycle." for way in ways_round}


def test_two_paths_to_one_method_are_no_cycle() -> None:
    """A diamond of calls and a method without callers are no problems."""
    assert problems_of_calls(graph(a=(1, ("b", "c")), b=(1, ("d",)), c=(1, ("d",)), d=(1, ()), lone=(1, ()))) == []


def test_a_callee_with_a_longer_deadline_is_reported() -> None:
    """A callee with a longer deadline than its caller is reported."""
    assert problems_of_calls(graph(a=(1, ("b",)), b=(1.5, ()))) == [
        "a has a deadline of 1 s, but its callee b has 1.5 s."
    ]


def test_retries_multiplied_over_a_chain_are_reported() -> None:
    """A chain of calls is reported if its retries multiply to more than 18 attempts.

    Every hop repeats the attempts of the hop above: four hops of three attempts make 81.
    """
    chain = graph(3, a=(1, ("b",)), b=(1, ("c",)), c=(1, ("d",)), d=(1, ()))

    assert problems_of_calls(chain) == ["a calls b calls c calls d: retries multiply to 81 attempts, above 18."]
    assert problems_of_calls(graph(2, a=(1, ("b",)), b=(1, ("c",)), c=(1, ("d",)), d=(1, ()))) == []
