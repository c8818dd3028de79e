from __future__ import annotations

from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest

from contracts.source.modules import SourceError
from contracts.source.names import GeneratedNames
from contracts.source.uses import Kind, uses_in
from contracts.workspace import read_image

ROOT = Path(__file__).parents[3]
GET_GYM, QUOTE = "solo60.gym.v1.GymService/GetGym", "solo60.gym.v1.GymService/QuotePrice"
USER_LEFT = "solo60.user.v1.UserLeft"
STUB = "from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub, GymServiceServicer, GymServiceStub\n"


@cache
def our_names() -> GeneratedNames:
    """Return the names of our contracts."""
    return GeneratedNames(read_image(ROOT))


def uses(folder: Path, source: str, **others: str) -> list[tuple[Kind, str, int]]:
    """Return kind, name and line of the uses in the module `source`; `others` are further modules of its folder."""
    for name, text in {"code": source, **others}.items():
        (folder / f"{name}.py").write_text(STUB + dedent(text))
    found = uses_in(folder, our_names())
    # The import is the first line.
    return [(use.kind, use.name, use.line - 1) for use in found if use.file == str(folder / "code.py")]


FORMS = {
    "parameter": """
        async def run(gyms: GymServiceAsyncStub):
            await gyms.GetGym(request)
    """,
    "attribute": """
        class Mailer:
            def __init__(self, gyms: "GymServiceStub | None" = None): self._gyms = gyms
            async def run(self): await self._gyms.GetGym(request)
    """,
    "dataclass field": """
        class Erasure:
            gyms: GymServiceAsyncStub
            async def run(self): await self.gyms.GetGym(request)
    """,
    "made stub": """
        async def open(runtime):
            other, gyms = 1, runtime.channels.stub(GymServiceStub)
            await gyms.GetGym(request)
    """,
    "stub by keyword": """
        gyms = connected(at="gym", stub_type=GymServiceStub)
        gyms.GetGym(request)
    """,
    "generated class": """
        async def run(channel): await GymServiceStub(channel).GetGym(request)
    """,
    "context manager": """
        async def run():
            async with connect(GymServiceStub) as gyms: await gyms.GetGym(request)
    """,
    "closure": """
        def app(runtime):
            gyms = runtime.channels.stub(GymServiceStub)
            async def run(request): await gyms.GetGym(request)
    """,
    "module import": """
        from solo60.gym.v1 import gym_pb2_grpc as generated
        async def run(gyms: generated.GymServiceStub): await gyms.GetGym(request)
    """,
    "plain import": """
        import solo60.gym.v1.gym_pb2_grpc
        async def run(gyms: solo60.gym.v1.gym_pb2_grpc.GymServiceStub): await gyms.GetGym(request)
    """,
    "relative import": """
        from .gym_pb2_grpc import GymServiceStub as Gyms
        async def run(gyms: Gyms): await gyms.GetGym(request)
    """,
    "inherited attribute": """
        class Reader:
            def __init__(self, gyms: GymServiceStub): self.gyms = gyms
        class Cache(Reader):
            async def run(self): await self.gyms.GetGym(request)
    """,
    "property and result": """
        class Stubs:
            @property
            def gyms(self) -> GymServiceStub: ...
        def stubs() -> Stubs: ...
        async def run(): await stubs().gyms.GetGym(request)
    """,
    "local name of a method": """
        async def run(gyms: GymServiceStub):
            method = gyms.GetGym
            await method(request)
    """,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_call_is_found_in_every_form(tmp_path: Path, form: str) -> None:
    """A call of a stub's method is found, whatever way the stub has come."""
    source = FORMS[form]

    ((kind, name, _),) = uses(tmp_path, source)

    assert (kind, name) == (Kind.CALL, GET_GYM)


def test_a_stub_is_known_in_modules_that_are_read_earlier(tmp_path: Path) -> None:
    """The type of an attribute is known in other modules, in whatever order they are read."""
    source = """
        async def run(stores: Stores):
            await stores.relations.gyms.GetGym(request)
    """
    others = {
        "stores": "class Stores:\n    relations: Relations\n",
        "relations": "class Relations:\n    def __init__(self, gyms: GymServiceStub): self.gyms = gyms\n",
    }

    assert uses(tmp_path, source, **others) == [(Kind.CALL, GET_GYM, 3)]


def test_later_calls_and_references_are_told_apart(tmp_path: Path) -> None:
    """The method of `call_later` is a later call, also by a local name; a method that is passed on is a reference."""
    source = """
        async def run(tx, gyms: GymServiceStub):
            await tx.call_later(gyms.GetGym, request)
            method = gyms.QuotePrice
            await tx.call_later(method, request, at=time)
            await tx.call_later(method=gyms.GetGym, request=request)
            await tx.cancel_later("key")
            schedule(tx, gyms.GetGym)
    """

    assert uses(tmp_path, source) == [
        (Kind.CALL_LATER, GET_GYM, 3),
        (Kind.CALL_LATER, QUOTE, 5),
        (Kind.CALL_LATER, GET_GYM, 6),
        (Kind.REFERENCE, GET_GYM, 8),
    ]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("async def run(gyms):\n    await gyms.GetGym(request)", "gyms.GetGym"),
        ("async def run(gyms: Any):\n    await gyms.GetGym(request)", "gyms.GetGym"),
        (
            "async def run(stubs: list[GymServiceStub]):\n    for each in stubs: await each.GetGym(request)",
            "each.GetGym",
        ),
        ("class Gyms(Protocol): ...\nasync def run(gyms: Gyms): await gyms.GetGym(request)", "gyms.GetGym"),
        ("from stubs import gyms\nasync def run(): await gyms.GetGym(request)", "gyms.GetGym"),
        ("async def run(gyms: GymServiceStub, name):\n    await getattr(gyms, name)(request)", "getattr(gyms, name)"),
        ("async def run(gyms: GymServiceStub):\n    await gyms.GetUser(request)", "gyms.GetUser"),
        (
            "class Pool:\n    def add(self, gyms: GymServiceStub, x: X): self.a = gyms; self.a = x; self.a.GetGym()",
            "self.a.GetGym",
        ),
    ],
    ids=["no annotation", "any", "loop", "protocol", "global", "getattr", "other service", "two types"],
)
def test_an_access_to_an_unknown_stub_is_reported(tmp_path: Path, source: str, shown: str) -> None:
    """An access that may be to a stub's method, but whose stub is unknown, is reported and never skipped."""
    assert uses(tmp_path, source) == [(Kind.UNRESOLVED, shown, 2)]


def test_servicers_are_no_stubs(tmp_path: Path) -> None:
    """A servicer may call its own methods and those of a generated servicer: these calls are not remote."""
    source = """
        class Gyms(GymServiceServicer):
            async def GetGym(self, request, context):
                return await super().GetGym(request, context)
            async def warm_up(self, other: GymServiceServicer):
                await self.GetGym(request, context)
                await other.GetGym(request, context)
                await GymServiceServicer.GetGym(self, request, context)
    """

    assert uses(tmp_path, source) == []


def test_created_events_are_found(tmp_path: Path) -> None:
    """An event is used where the code creates it, or passes its class to a function that creates it."""
    source = """
        from solo60.user.v1 import events_pb2
        from solo60.user.v1.events_pb2 import UserLeft
        async def run(tx):
            await tx.publish(UserLeft(user_id="1"))
            await tx.publish(render(UserLeft, user))
            return events_pb2.UserLeft()
        def react(event: UserLeft): return isinstance(event, UserLeft)
    """

    assert uses(tmp_path, source) == [(Kind.EVENT, USER_LEFT, line) for line in (5, 6, 7)]


def test_raised_errors_are_found(tmp_path: Path) -> None:
    """An error of `contracts.errors` is raised in `raise`, and only named elsewhere."""
    source = """
        from contracts import errors
        from contracts.errors import GymNotFound
        def find():
            try: raise GymNotFound
            except GymNotFound: raise errors.GymClosed("Closed.") from None
            raise ValueError
    """

    assert uses(tmp_path, source) == [(Kind.RAISED, "GymNotFound", 5), (Kind.RAISED, "GymClosed", 6)]


def test_a_module_that_mentions_no_method_teaches_types(tmp_path: Path) -> None:
    """Of a module that mentions no method and no event, imports, types and raised errors in all blocks are known."""
    source = """
        async def run(pool: Pool):
            await pool.kept.gyms.GetGym(request)
    """
    pool = """
        class Pool:
            def keep(self):
                with self.open() as stubs:
                    if stubs:
                        self.kept = stubs
            def open(self) -> Stubs: ...
    """
    stubs = """
        try:
            from solo60.gym.v1.gym_pb2_grpc import GymServiceStub as Gyms
        except ImportError:
            raise
        class Stubs:
            def __init__(self, gyms: Gyms): self.gyms = gyms
    """

    assert uses(tmp_path, source, pool=dedent(pool), stubs=dedent(stubs)) == [(Kind.CALL, GET_GYM, 3)]


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [(b"def run(:\n", ":2", "invalid syntax"), (b"\0", "", "source code string cannot contain null bytes")],
)
def test_a_file_that_is_not_python_is_one_sentence(tmp_path: Path, source: bytes, line: str, reason: str) -> None:
    """A file that is not Python is an error that names the file and the line."""
    (tmp_path / "code.py").write_bytes(b"\n" + source)

    with pytest.raises(SourceError, match=rf"code\.py{line} is not Python 3\.\d+: {reason}\.$"):
        uses_in(tmp_path, our_names())
