from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from google.protobuf import json_format
from joserfc import jwt
from joserfc.jwk import KeySet

from contracts.errors import InvalidRequest, ScopeMissing, TokenInvalid, Unavailable
from contracts.method import methods_of
from mesh.access_tokens import LIFETIME
from mesh.user_tokens import MAX_AGE_S, UserTokens, verifying_user_tokens
from services.auth.tokens.domain import PUBLISHED_BEFORE, ROTATION
from services.auth.tokens.issuer import TokenIssuer
from services.auth.tokens.store import SigningKeyStore
from solo60.auth.v1 import auth_pb2 as pb
from solo60.auth.v1.auth_pb2_grpc import AuthServiceStub
from tests.support.clock import ManualClock
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.auth.v1.auth_pb2 import Tokens
    from tests.services.auth.auth_mesh import AuthMesh

MINUTE = timedelta(minutes=1)


async def key_ids(mesh: AuthMesh) -> list[str]:
    """Return the ids of the published keys."""
    return [key.kid for key in (await mesh.auth.GetSigningKeys(pb.GetSigningKeysRequest())).keys]


def key_id(tokens: Tokens) -> str:
    """Return the id of the key that signed an access token."""
    header = tokens.access_token.partition(".")[0]
    return str(json.loads(jwt_part(header))["kid"])


def jwt_part(text: str) -> bytes:
    """Decode a part of a token."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.requirement("J5")
async def test_any_jwt_library_verifies_a_token_with_the_published_keys(mesh: AuthMesh) -> None:
    """The JSON form of GetSigningKeys is a JSON Web Key Set, and contains no private key."""
    tokens = await mesh.first_log_in()

    answer = await mesh.auth.GetSigningKeys(pb.GetSigningKeysRequest())
    document = json_format.MessageToDict(answer)

    token = jwt.decode(tokens.access_token, KeySet.import_key_set(document), algorithms=["Ed25519"])  # type: ignore[arg-type]  # a dictionary
    assert token.header["typ"] == "at+jwt"
    assert set(document["keys"][0]) == {"kty", "crv", "alg", "use", "kid", "x"}


async def test_invalid_tokens_are_rejected(mesh: AuthMesh) -> None:
    """VerifyToken rejects malformed, changed and expired tokens with TOKEN_INVALID, and empty ones as invalid."""
    tokens = await mesh.first_log_in()
    for bad in ("x", "a.b.c", tokens.access_token + "x", tokens.access_token[:-1], tokens.refresh_token):
        with pytest.raises(TokenInvalid):
            await mesh.verify(pb.Tokens(access_token=bad))
    for bad in ("", "x" * 4097):
        with pytest.raises(InvalidRequest):
            await mesh.verify(pb.Tokens(access_token=bad))

    mesh.clock.advance(LIFETIME - timedelta(seconds=1))
    await mesh.verify(tokens)
    mesh.clock.advance(timedelta(seconds=1))
    with pytest.raises(TokenInvalid):
        await mesh.verify(tokens)


async def test_keys_rotate_with_overlap(mesh: AuthMesh) -> None:
    """A new key is published an hour before it signs, and the old one until its last token has expired."""
    await mesh.join()
    first = (await mesh.log_in()).tokens
    [old] = await key_ids(mesh)

    mesh.clock.advance(ROTATION - PUBLISHED_BEFORE)
    _, new = await key_ids(mesh)
    assert key_id(await mesh.refresh(first)) == old

    mesh.clock.advance(PUBLISHED_BEFORE - timedelta(seconds=1))
    last_of_old = (await mesh.log_in()).tokens
    mesh.clock.advance(timedelta(seconds=1))
    first_of_new = (await mesh.log_in()).tokens
    assert (key_id(last_of_old), key_id(first_of_new)) == (old, new)
    for tokens in (last_of_old, first_of_new):
        await mesh.verify(tokens)

    mesh.clock.advance(LIFETIME + MINUTE)
    assert await key_ids(mesh) == [new]


async def test_a_key_that_no_longer_signs_has_no_private_half(mesh: AuthMesh) -> None:
    """The private half of a superseded key is deleted, and the key itself later."""
    stub_key = await key_ids(mesh)
    issuer = TokenIssuer(SigningKeyStore(mesh.services.database("auth")))
    stored = "select key_id, private_key is not null from signing_keys order by sign_time"
    assert await mesh.fetch(stored) == [(stub_key[0], True)]

    mesh.clock.advance(ROTATION)
    await issuer.rotate(mesh.clock.now())
    mesh.clock.advance(PUBLISHED_BEFORE)
    await issuer.rotate(mesh.clock.now())
    assert [has_private for _, has_private in await mesh.fetch(stored)] == [False, True]
    mesh.clock.advance(LIFETIME + MINUTE)
    await issuer.rotate(mesh.clock.now())
    assert [has_private for _, has_private in await mesh.fetch(stored)] == [True]


async def test_replicas_agree_on_their_keys(mesh: AuthMesh) -> None:
    """Eight replicas that rotate at once create one key, and each verifies the tokens of each other."""
    database = mesh.services.database("auth")
    tokens = await mesh.first_log_in()
    claims = await mesh.verify(tokens)
    replicas = [TokenIssuer(SigningKeyStore(database)) for _ in range(8)]
    mesh.clock.advance(timedelta(days=30))  # all keys are long overdue

    published = await asyncio.gather(*[each.published(mesh.clock.now()) for each in replicas])

    assert {tuple(key.key_id for key in keys) for keys in published} == {tuple(await key_ids(mesh))}
    assert len(published[0]) == 2
    mesh.clock.advance(PUBLISHED_BEFORE)
    for signer in replicas:
        now = mesh.clock.now()
        token, _ = await signer.issue(UUID(claims.user_id), ("MEMBER",), UUID(claims.log_in_id), now)
        for verifier in replicas:
            assert str((await verifier.verify(token, now)).user_id) == claims.user_id


async def test_a_replica_finds_a_key_that_another_one_has_just_created(mesh: AuthMesh) -> None:
    """A token of an unknown key is verified after the keys were read again."""
    await mesh.first_log_in()
    database = mesh.services.database("auth")
    ahead, behind = (TokenIssuer(SigningKeyStore(database)) for _ in range(2))
    now = mesh.clock.now()
    await behind.published(now)
    later = now + ROTATION
    await ahead.rotate(later)
    await ahead.rotate(later + PUBLISHED_BEFORE)
    token, _ = await ahead.issue(UUID(int=1), (), UUID(int=2), later + PUBLISHED_BEFORE)

    assert (await behind.verify(token, later + PUBLISHED_BEFORE)).user_id == UUID(int=1)


async def test_revoked_log_ins_are_listed_for_ten_minutes(mesh: AuthMesh) -> None:
    """ListRevokedLogIns returns revoked log-ins in pages, oldest first, since a time and for ten minutes."""
    await mesh.join()
    revoked = []
    for _ in range(3):
        tokens = (await mesh.log_in()).tokens
        revoked.append((await mesh.verify(tokens)).log_in_id)
        mesh.clock.advance(MINUTE)
        await mesh.auth.LogOut(pb.LogOutRequest(refresh_token=tokens.refresh_token))

    async def listed(request: pb.ListRevokedLogInsRequest) -> list[str]:
        found = []
        while True:
            page = await mesh.auth.ListRevokedLogIns(request)
            found += [each.log_in_id for each in page.log_ins]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    assert await listed(pb.ListRevokedLogInsRequest(page_size=1)) == revoked
    since = pb.ListRevokedLogInsRequest()
    since.since.FromDatetime(mesh.clock.now() - MINUTE)
    assert await listed(since) == revoked[1:]
    mesh.clock.advance(9 * MINUTE)
    assert await listed(pb.ListRevokedLogInsRequest()) == revoked[1:]
    with pytest.raises(InvalidRequest):
        await listed(pb.ListRevokedLogInsRequest(page_token="x"))  # noqa: S106 - a cursor
    with pytest.raises(InvalidRequest):
        await listed(pb.ListRevokedLogInsRequest(page_size=-1))


async def test_another_service_verifies_tokens_itself(mesh: AuthMesh) -> None:
    """A verifier with a key of its own accepts valid tokens, and rejects them within 5 s of their revocation."""
    stub = mesh.services.stub(AuthServiceStub, caller="session")
    tokens, other = await mesh.first_log_in(), (await mesh.log_in()).tokens
    async with verifying_user_tokens(stub, mesh.clock.now) as verifier:
        await eventually(lambda: accepts(verifier, tokens))
        claims = verifier.verify(tokens.access_token)
        assert str(claims.user_id) == (await mesh.verify(tokens)).user_id
        with pytest.raises(TokenInvalid):
            verifier.verify(tokens.access_token + "x")

        await mesh.auth.LogOut(pb.LogOutRequest(refresh_token=tokens.refresh_token))

        async with asyncio.timeout(MAX_AGE_S):
            await eventually(lambda: not accepts(verifier, tokens))
        assert accepts(verifier, other)


def accepts(verifier: UserTokens, tokens: Tokens) -> bool:
    """Return whether a verifier accepts an access token."""
    try:
        verifier.verify(tokens.access_token)
    except (TokenInvalid, Unavailable):
        return False
    return True


async def test_a_verifier_without_news_accepts_nothing(mesh: AuthMesh) -> None:
    """Before the first poll, and 5 s after the last one, `verify` raises UNAVAILABLE; a poll ends this."""
    tokens, clock = await mesh.first_log_in(), ManualClock()
    verifier = UserTokens(mesh.services.stub(AuthServiceStub, caller="session"), mesh.clock.now, clock)
    with pytest.raises(Unavailable):
        verifier.verify(tokens.access_token)

    await verifier.poll()
    clock.now_s += MAX_AGE_S
    assert accepts(verifier, tokens)
    clock.now_s += 0.001
    with pytest.raises(Unavailable):
        verifier.verify(tokens.access_token)
    await verifier.poll()
    assert accepts(verifier, tokens)


async def test_a_verifier_knows_every_revocation_of_many(mesh: AuthMesh) -> None:
    """A verifier reads all pages, keeps earlier revocations, and forgets those without valid tokens."""
    user_id = await mesh.join()
    verifier = UserTokens(mesh.services.stub(AuthServiceStub, caller="session"), mesh.clock.now)
    tokens = (await mesh.log_in()).tokens
    many = """
        insert into log_ins (user_id, create_time, expire_time, revoke_time)
        select $1, $2, $2, $2 from generate_series(1, 250)
    """
    await mesh.fetch(many, user_id, mesh.clock.now())
    await verifier.poll()
    assert len(verifier._revoked) == 250
    mesh.clock.advance(8 * MINUTE)

    await mesh.auth.LogOut(pb.LogOutRequest(refresh_token=tokens.refresh_token))
    await verifier.poll()

    assert len(verifier._revoked) == 251
    assert not accepts(verifier, tokens)
    mesh.clock.advance(8 * MINUTE)
    await mesh.fetch(many, user_id, mesh.clock.now())
    await verifier.poll()
    assert len(verifier._revoked) == 251  # 250 new ones, and the log-out


async def test_each_method_needs_its_scope(mesh: AuthMesh) -> None:
    """A caller with the key of the gym service may call no method of the auth service."""
    stub = mesh.services.stub(AuthServiceStub, caller="gym")

    for method in methods_of(pb.DESCRIPTOR.services_by_name["AuthService"]):
        with pytest.raises(ScopeMissing):
            await getattr(stub, method.name)(method.request_type())


async def test_each_scope_allows_only_its_methods(mesh: AuthMesh) -> None:
    """A caller with the scope auth.verify may verify tokens, but neither log anybody in nor out."""
    stub = mesh.services.stub(AuthServiceStub, caller="session")

    await stub.GetSigningKeys(pb.GetSigningKeysRequest())
    with pytest.raises(ScopeMissing):
        await stub.LogIn(pb.LogInRequest())
    with pytest.raises(ScopeMissing):
        await stub.LogOutEverywhere(pb.LogOutEverywhereRequest())
