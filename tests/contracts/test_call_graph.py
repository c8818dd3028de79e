from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions

from contracts.call_graph import CallGraph
from contracts.checks import retries
from contracts.checks.run import check
from contracts.checks.subject import Subject
from contracts.edges import Edge, EdgeKind
from solo60.common.v1 import errors_pb2
from solo60.mesh.v1 import policy_pb2
from tests.support.images import image_of

if TYPE_CHECKING:
    from contracts.image import Image

IDEMPOTENT, NO_SIDE_EFFECTS = MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS


def name_of(method: str) -> str:
    """Return the full name of a declared method: each has a service of its own."""
    return f"acme.test.v1.{method}/Do"


def calls(deadline_s: float, *callees: str, groups: tuple[tuple[str, ...], ...] = (), **options: Any) -> dict[str, Any]:
    """Return the options of a policy with a deadline and calls."""
    parallel = [policy_pb2.ParallelCalls(calls=map(name_of, group)) for group in groups]
    own_work = {"own_work": timedelta(seconds=options.pop("own_work_s"))} if "own_work_s" in options else {}
    named = {"calls": list(map(name_of, callees)), "parallel_calls": parallel, **own_work, **options}
    return {"deadline": timedelta(seconds=deadline_s), "scopes": ["test.read"], **named}


def image_with(**policies: dict[str, Any]) -> Image:
    """Declare methods with these policies, by name."""
    file = FileDescriptorProto(name="graph.proto", package="acme.test.v1", syntax="proto3")
    file.dependency.append(policy_pb2.DESCRIPTOR.name)
    file.message_type.add(name="Message")
    for name, options in policies.items():
        method = file.service.add(name=name).method.add(
            name="Do", input_type=".acme.test.v1.Message", output_type=".acme.test.v1.Message"
        )
        method.options.idempotency_level = IDEMPOTENT if options.pop("has_effects", True) else NO_SIDE_EFFECTS
        method.options.Extensions[policy_pb2.policy].CopyFrom(policy_pb2.MethodPolicy(**options))
    return image_of(file)


def ids(**policies: dict[str, Any]) -> list[str]:
    """Return the ids of the findings in methods with these policies."""
    return [finding.id for finding in check(image_with(**policies))]


RETRY_3 = policy_pb2.Retry(max_attempts=3)


def test_the_worst_case_is_own_work_and_the_deadlines_of_all_calls() -> None:
    """The worst case of a method is its own work plus the deadlines of its calls, one after the other."""
    graph = CallGraph(image_with(A=calls(9, "B", "C", own_work_s=1), B=calls(2), C=calls(3)).methods)

    assert graph.worst_case_s(name_of("A")) == 6
    assert graph.worst_case_s(name_of("B")) == 0.1


def test_a_deadline_of_exactly_the_worst_case_passes() -> None:
    """A deadline equal to the sum passes, although a sum of floats is a little longer."""
    assert 0.1 + 0.2 > 0.3
    assert ids(A=calls(0.3, "B"), B=calls(0.2)) == []
    assert ids(A=calls(0.3, "B"), B=calls(0.201)) == ["DEADLINE_SUM"]


def test_a_method_without_side_effects_reaches_none_over_any_number_of_hops() -> None:
    """The last method without side effects is reported if a chain from it reaches a method with some."""
    chain = image_with(
        A=calls(9, "B", has_effects=False),
        B=calls(4, "C", has_effects=False),
        C=calls(2, "D", has_effects=False),
        D=calls(1),
    )

    (finding,) = check(chain)

    assert finding.id == "CALLS_EFFECT"
    assert finding.message.startswith(f"{name_of('C')}: has NO_SIDE_EFFECTS, but calls {name_of('D')}")


def test_of_parallel_calls_the_longest_counts() -> None:
    """Of the calls in one group only the longest counts, and groups follow each other."""
    groups = (("B", "C"), ("D", "E"))
    callees = {"B": calls(2), "C": calls(3), "D": calls(4), "E": calls(1), "F": calls(5)}
    graph = CallGraph(image_with(A=calls(20, *callees, groups=groups, own_work_s=1), **callees).methods)

    assert graph.worst_case_s(name_of("A")) == 1 + 3 + 4 + 5
    assert graph.steps_of(name_of("A"))[-1] == (name_of("F"),)


def test_attempts_multiply_over_a_chain() -> None:
    """Every hop multiplies the attempts of the hop above, and the worst chain is the one with the most attempts."""
    graph = CallGraph(
        image_with(A=calls(9, "B", "C", retry=RETRY_3), B=calls(1), C=calls(2, "D", retry=RETRY_3), D=calls(1)).methods
    )

    assert graph.worst_case_attempts(name_of("A")) == 9
    assert graph.worst_chain(name_of("A")) == (9, [name_of("A"), name_of("C"), name_of("D")])


def test_callers_of_every_kind_are_found() -> None:
    """The callers of a method are those of calls, later calls and events, and unknown methods have none."""
    later = calls(1) | {"calls_later": [name_of("B")]}
    graph = CallGraph(image_with(A=calls(9, "B"), B=calls(1) | {"subscribes_to": "acme.Event"}, C=later).methods)

    assert set(graph.callers_of(name_of("B"))) == {
        Edge(name_of("A"), name_of("B"), EdgeKind.CALL),
        Edge(name_of("C"), name_of("B"), EdgeKind.LATER),
        Edge("acme.Event", name_of("B"), EdgeKind.EVENT),
    }
    assert graph.callers_of("acme.v1.Nothing/Do") == ()
    assert graph.is_entry_point(name_of("A"))
    assert not graph.is_entry_point(name_of("B"))


@pytest.mark.requirement("C6")
def test_a_cycle_is_named_in_the_order_of_its_calls() -> None:
    """A cycle over three methods is reported once, with its methods in the order of their calls."""
    (finding,) = check(image_with(A=calls(1, "B"), B=calls(1, "C"), C=calls(1, "A")))

    path = f"calls {name_of('B')} calls {name_of('C')} calls {name_of('A')}"
    assert finding.message == f"{name_of('A')}: {path}: calls must not form a cycle; use calls_later for one of them."


def test_a_call_of_the_own_service_hides_no_cycle() -> None:
    """A cycle of other services is reported beside a method that calls itself."""
    assert ids(A=calls(1, "A"), B=calls(1, "C"), C=calls(1, "B")) == ["CALLS_CYCLE", "CALLS_SELF"]


def test_a_cycle_of_later_calls_is_legal() -> None:
    """Later calls may form a cycle, because nobody waits for them."""
    assert ids(A=calls(1) | {"calls_later": [name_of("B")]}, B=calls(2, "A")) == []


def test_two_paths_to_one_method_are_no_cycle() -> None:
    """A diamond of calls and a method without callers are no problems."""
    assert ids(A=calls(9, "B", "C"), B=calls(3, "D"), C=calls(3, "D"), D=calls(1), Lone=calls(1)) == []


def test_attempts_are_limited() -> None:
    """Three hops of three attempts are reported, and four hops of two are not."""
    chain = {"B": calls(4, "C", retry=RETRY_3), "C": calls(3, retry=RETRY_3)}
    assert ids(A=calls(9, "B", retry=RETRY_3), **chain) == ["CALLS_ATTEMPTS"]

    two = policy_pb2.Retry(max_attempts=2)
    half = {"B": calls(5, "C", retry=two), "C": calls(3, "D", retry=two), "D": calls(1, retry=two)}
    assert ids(A=calls(9, "B", retry=two), **half) == []


def test_hedged_attempts_count_too() -> None:
    """A hedge adds its further attempts, of which only the first is retried."""
    hedge = policy_pb2.Hedge(max_attempts=3)
    hop: dict[str, Any] = {"hedge": hedge, "retry": RETRY_3}
    image = image_with(A=calls(9, "B", **hop), B=calls(4, hedge=policy_pb2.Hedge()))

    assert CallGraph(image.methods).worst_case_attempts(name_of("A")) == (3 + 2) * 2


def test_a_dense_graph_is_checked_at_once() -> None:
    """The checks visit each method once, although a graph of twelve layers with three methods has 3^12 paths."""
    layers = [[f"{letter}{number}" for number in range(3)] for letter in "ABCDEFGHIJKL"]
    below = [*layers[1:], []]
    nodes = {name: calls(9, *below[depth], errors=[REASON]) for depth, layer in enumerate(layers) for name in layer}
    nodes["A0"] |= {"retry": policy_pb2.Retry(max_attempts=2, codes=[10])}
    visited: list[str] = []

    class Counting(CallGraph):
        def callees_of(self, method: str) -> list[str]:
            visited.append(method)
            return super().callees_of(method)

    subject = Subject(image_with(**nodes), datetime.now(UTC), {})
    subject.__dict__["graph"] = Counting(subject.methods)

    assert list(retries.repeated(subject)) == []
    assert len(visited) <= len(nodes)


REASON = errors_pb2.ERROR_REASON_ETAG_MISMATCH  # ABORTED
RETRIES_ABORTED: dict[str, Any] = {"retry": policy_pb2.Retry(max_attempts=2, codes=[10]), "errors": [REASON]}


@pytest.mark.parametrize(
    ("between", "last", "expected"),
    [
        ({"errors": [REASON]}, RETRIES_ABORTED, ["RETRY_REPEATED"]),
        ({}, RETRIES_ABORTED, []),
        ({"errors": [REASON]}, {"errors": [REASON]}, []),
        ({"errors": [REASON]}, {"retry": policy_pb2.Retry(), "errors": [REASON]}, []),
    ],
    ids=["passed on", "not passed on", "not retried", "another code is retried"],
)
def test_a_domain_error_is_retried_on_one_hop(
    between: dict[str, Any], last: dict[str, Any], expected: list[str]
) -> None:
    """A domain error that every method of a path declares is reported if two hops retry its code.

    The hops may be apart. A method that does not declare the error answers INTERNAL, which nobody retries.
    """
    found = ids(A=calls(9, "B", **RETRIES_ABORTED), B=calls(4, "C", **between), C=calls(1, **last))

    assert found == expected
