"""`heliograph token` beside an embedded service: nothing but DATABASE_URL is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt

from runtime.settings import variable
from tests.support.process import run, started

if TYPE_CHECKING:
    from pathlib import Path

DATABASE_URL, DATA_DIR = variable("database_url"), variable("data_dir")
JWT = tuple(map(variable, ("jwt_secret", "jwt_issuer", "jwt_audience")))


async def token_of(database: str) -> str:
    finished = await run("token", "--account", "acct_1", environ={DATABASE_URL: database})
    assert (finished.code, finished.stderr, len(finished.stdout)) == (0, [], 1), finished
    return finished.stdout[0]


async def test_an_embedded_service_makes_up_what_tokens_are_signed_with_and_keeps_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    tokens = []
    for _ in range(2):
        async with started("serve", "--embedded", environ={DATA_DIR: str(data_dir)}) as service:
            ready = await service.ready()
            tokens.append(await token_of(ready["database"]))
            shown = await run("config", environ={DATABASE_URL: ready["database"]})
            assert f"{variable('jwt_secret')}=********" in "\n".join(shown.stdout)
            said = str(await service.terminate())
    secret = (data_dir / "jwt_secret").read_text()
    assert (data_dir / "jwt_secret").stat().st_mode & 0o777 == 0o600
    assert secret not in said
    for token in tokens:
        claims = jwt.decode(token, secret, ["HS256"], issuer="urn:heliograph:embedded", audience="heliograph")
        assert (claims["sub"], claims["scope"]) == ("acct_1", "full")


async def test_what_an_embedded_service_was_given_is_what_its_tokens_are_signed_with() -> None:
    given = dict(zip(JWT, ('a "secret" with \\ that is long enough', "https://panel.example", "me"), strict=True))
    async with started("serve", "--embedded", environ=given) as service:
        token = await token_of((await service.ready())["database"])
    claims = jwt.decode(token, given[JWT[0]], ["HS256"], issuer="https://panel.example", audience="me")
    assert claims["sub"] == "acct_1"
