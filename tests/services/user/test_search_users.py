from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest

from contracts.errors import InvalidRequest, ScopeMissing
from services.user.domain import Role, State
from services.user.search import FORCE_CUSTOM_PLAN, SEARCH, UserFilter
from solo60.user.v1.user_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_OWNER,
    USER_STATE_ACTIVE,
    USER_STATE_DELETED,
    USER_STATE_SUSPENDED,
    SearchUsersRequest,
)
from solo60.user.v1.user_pb2_grpc import UserServiceStub
from tests.services.user.user_requests import add_user, update_user
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from mesh.data.database import Database
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub
    from tests.support.postgres import DatabaseOpener
    from tests.support.serving import MeshForTests

# Names repeat, and every address has one of two domains, as in a real table.
FILL = """
    insert into users (email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
    select format('%s.%s.%s@%s', first, last, n, domain), format('%s %s', initcap(first), initcap(last)),
        array[case when n % 20000 = 7 then 'ROLE_ADMIN' else 'ROLE_MEMBER' end],
        case when n % 100 = 3 then 'USER_STATE_SUSPENDED' else 'USER_STATE_ACTIVE' end, true, 'UTC', now(), now()
    from generate_series(1, $1::int) as n,
        lateral (select
            (array['ada', 'grace', 'alan', 'edsger', 'barbara', 'donald', 'hedy', 'ken'])[1 + n % 8] as first,
            substr(md5((n % 5000)::text), 1, 7) as last,
            case when n % 3 = 0 then 'members.example' else 'example.org' end as domain) as parts
"""
RARE_ONE = """
    insert into users (email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
    values ('q.zwicky@rare.example', 'Quentin Zwicky', array['ROLE_OWNER'], 'USER_STATE_ACTIVE', true, 'UTC', now(),
        now())
"""


async def found(users: UserServiceAsyncStub, query: str = "", **fields: Any) -> list[str]:
    """Return the addresses that a search finds."""
    response = await users.SearchUsers(SearchUsersRequest(query=query, **fields))
    return [user.email for user in response.users]


async def test_a_part_of_a_name_or_an_address_finds_users_in_any_case(users: UserServiceAsyncStub) -> None:
    """SearchUsers finds a text inside a name or an address, ignoring case, in the order of creation."""
    await add_user(users, "ada@example.org", display_name="Ada Lovelace")
    await add_user(users, "grace@navy.example", display_name="Grace Hopper")
    await add_user(users, "carl@example.org", display_name="Carl Strauß")

    assert await found(users, "LOVE") == ["ada@example.org"]
    assert await found(users, "e@NAVY") == ["grace@navy.example"]
    assert await found(users, "STRAUSS") == ["carl@example.org"]
    assert await found(users, "example.org") == ["ada@example.org", "carl@example.org"]
    assert await found(users, "nobody") == []
    assert len(await found(users)) == 3


async def test_one_or_two_characters_find_the_beginning_of_a_word(users: UserServiceAsyncStub) -> None:
    """A query of one or two characters finds words that begin with it, in the name and in the address."""
    await add_user(users, "x1@example.org", display_name="Ada Lovelace")
    await add_user(users, "lo@example.org", display_name="Grace")
    await add_user(users, "x2@example.org", display_name="Carlo")

    assert await found(users, "lo") == ["x1@example.org", "lo@example.org"]
    assert await found(users, "C") == ["x2@example.org"]


@pytest.mark.parametrize("query", ["%da", "a_a", "a\\da", "%", "_"])
async def test_wildcards_of_sql_have_no_meaning(users: UserServiceAsyncStub, query: str) -> None:
    """The wildcards and the escape character of LIKE stand for themselves in a query."""
    await add_user(users, display_name="Ada")
    assert await found(users, query) == []

    await add_user(users, "odd@example.org", display_name=f"Odd {query}")

    assert await found(users, query) == ["odd@example.org"]


async def test_roles_and_states_restrict_a_search(users: UserServiceAsyncStub) -> None:
    """A search with a role or a state finds only users with this role and state."""
    await add_user(users, "member@example.org")
    await add_user(users, "owner@example.org", roles=[ROLE_OWNER, ROLE_MEMBER])
    admin = await add_user(users, "admin@example.org", roles=[ROLE_ADMIN])
    await update_user(users, admin, state=USER_STATE_SUSPENDED)
    left = await add_user(users, "left@example.org")
    await update_user(users, left, state=USER_STATE_DELETED)

    assert await found(users, role=ROLE_OWNER) == ["owner@example.org"]
    assert await found(users, role=ROLE_ADMIN) == ["admin@example.org"]
    assert await found(users, "example", state=USER_STATE_SUSPENDED) == ["admin@example.org"]
    assert await found(users, state=USER_STATE_DELETED) == ["left@example.org"]
    assert await found(users, "example", role=ROLE_MEMBER, state=USER_STATE_ACTIVE) == [
        "member@example.org",
        "owner@example.org",
    ]
    assert await found(users, role=ROLE_ADMIN, state=USER_STATE_ACTIVE) == []


async def test_pages_cover_every_user_once_although_users_are_added_and_renamed(users: UserServiceAsyncStub) -> None:
    """Pages follow the order of creation, so that changes between pages neither repeat nor skip an unchanged user."""
    added = [await add_user(users, f"{n}@example.org", display_name=f"Ada {9 - n}") for n in range(7)]
    seen, token = [], ""
    while True:
        response = await users.SearchUsers(SearchUsersRequest(query="ada", page_size=3, page_token=token))
        seen += [user.user_id for user in response.users]
        token = response.next_page_token
        if not token:
            break
        await update_user(users, added[0], display_name="Ada ZZZ")
        await add_user(users, f"new-{len(seen)}@example.org", display_name="Ada A")

    assert seen[:7] == [user.user_id for user in added]
    assert len(seen) == len(set(seen)) == 9


async def test_a_page_token_contains_no_personal_data(users: UserServiceAsyncStub) -> None:
    """A page token contains neither the query nor a name or address, and fails with another query."""
    for n in range(3):
        await add_user(users, f"{n}@example.org", display_name="Ada Lovelace")
    request = SearchUsersRequest(query="lovelace", page_size=1)

    token = (await users.SearchUsers(request)).next_page_token

    plain = base64.urlsafe_b64decode(token + "==").lower()
    assert not any(text in plain for text in (b"love", b"ada", b"example", b"lovelace".hex().encode()))
    with pytest.raises(InvalidRequest) as refusal:
        await users.SearchUsers(SearchUsersRequest(query="love", page_size=1, page_token=token))
    assert fields_of(refusal.value) == ["page_token"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"query": "a" * 255}, "query"),
        ({"query": "a\nb"}, "query"),
        ({"role": 99}, "role"),
        ({"state": 99}, "state"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_invalid_search_names_its_field(
    shared_users: UserServiceAsyncStub, fields: dict[str, Any], field: str
) -> None:
    """SearchUsers rejects a text, role, state or page that the contract does not allow."""
    with pytest.raises(InvalidRequest) as refusal:
        await shared_users.SearchUsers(SearchUsersRequest(**fields))

    assert fields_of(refusal.value) == [field]


async def test_services_that_read_users_cannot_search_them(mesh: MeshForTests) -> None:
    """SearchUsers requires the scope user.search, which no service has."""
    with pytest.raises(ScopeMissing):
        await mesh.stub(UserServiceStub, caller="session").SearchUsers(SearchUsersRequest())


FILTERS = {
    "rare text": UserFilter("zwick", None, None),
    "text of no user": UserFilter("zzzzz", None, None),
    "text of half of the users": UserFilter("example.org", None, None),
    "name of some users": UserFilter("hedy", None, None),
    "whole address": UserFilter("q.zwicky@rare.example", None, None),
    "two letters": UserFilter("qu", None, None),
    "one letter": UserFilter("a", None, None),
    "everybody": UserFilter("", None, None),
    "owners": UserFilter("", Role.OWNER, None),
    "suspended": UserFilter("", None, State.SUSPENDED),
    "suspended, rare text": UserFilter("zwick", None, State.SUSPENDED),
    "suspended, name of some of them": UserFilter("edsger", None, State.SUSPENDED),
    "suspended admins": UserFilter("", Role.ADMIN, State.SUSPENDED),
    "active members": UserFilter("", Role.MEMBER, State.ACTIVE),
    "text and role": UserFilter("zwicky", Role.OWNER, None),
}
# A page of 51 users in any order of the table. A scan of 200,000 users reads more than 4,000 pages.
MAX_PAGES_READ = 600


async def filled(database: Database, count: int) -> None:
    """Add users, and let PostgreSQL count them."""
    async with database.connection() as connection:
        await connection.execute(FILL, count)
        await connection.execute(RARE_ONE)
        await connection.execute("vacuum analyze users")


async def plan_of(database: Database, wanted: UserFilter) -> tuple[str, int, float]:
    """Return the plan of a search as text, the number of pages read, and its time in seconds."""
    async with database.transaction() as connection:
        await connection.execute(FORCE_CUSTOM_PLAN)
        statement = "explain (analyze, buffers, timing off) " + SEARCH[wanted.role, wanted.state]
        began = time.perf_counter()
        lines = [row[0] for row in await connection.fetch(statement, wanted.pattern, None, 51)]
    plan = "\n".join(lines)
    buffers = next(line for line in lines if "Buffers:" in line)
    pages = sum(int(part.partition("=")[2]) for part in buffers.split() if part.startswith(("hit=", "read=")))
    return plan, pages, time.perf_counter() - began


@pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
async def test_no_search_scans_the_table(open_database: DatabaseOpener, count: int) -> None:
    """Each kind of search reads few pages of a large table, through an index."""
    database = await open_database("user")
    await filled(database, count)

    for name, wanted in FILTERS.items():
        plan, pages, time_s = await plan_of(database, wanted)
        print(f"{count} {name}: {pages} pages, {time_s * 1000:.1f} ms")  # noqa: T201 - figures of a soak run
        assert "Seq Scan" not in plan, (name, plan)
        assert pages < MAX_PAGES_READ, (name, plan)


def test_statements_differ_by_role_and_state() -> None:
    """There is one statement for each combination of role and state, and of none."""
    assert len(set(SEARCH.values())) == (len(Role) + 1) * (len(State) + 1)
