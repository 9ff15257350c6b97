"""House styles: what comes with the release is whole, and what is broken is one clear line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.catalogue import CATALOGUE
from publisher import profiles
from publisher.profiles import ProfileError, templates
from publisher.profiles.model import Fault, LimitClass, Profile

TINY = Path(__file__).parents[2] / "support" / "profiles" / "tiny.toml"
NORDBASTION = Path(profiles.__file__).parent / "nordbastion.toml"


def broken(tmp_path: Path, old: str, new: str, *, of: Path = NORDBASTION) -> str:
    """Return what is said of a profile in which `old` was replaced."""
    text = of.read_text()
    assert text.count(old) == 1
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ProfileError) as caught:
        profiles.load(str(path))
    said = str(caught.value)
    assert said.startswith(f"HELIOGRAPH_PROFILE: {path}")
    assert "\n" not in said
    return said.removeprefix(f"HELIOGRAPH_PROFILE: {path}")


def test_nordbastion_is_as_its_page_says() -> None:
    profile = profiles.load("nordbastion")
    assert profile.base == "/v1"
    assert {each: profile.limits.classes[each] for each in LimitClass} == {"read": 1000, "write": 100, "auth": 10}
    assert profile.credentials.scopes == [
        "read-only",
        "billing-read",
        "billing-write",
        "servers-read",
        "servers-write",
        "full",
    ]
    assert list(profile.errors.body["error"]) == ["type", "code", "message", "request_id", "doc_url"]
    assert profile.errors.doc_url == "https://nordbastion.com/api/#errors"
    assert profile.events.types == tuple(CATALOGUE)
    assert profile.limits.tier("standard").webhooks == 20
    assert profile.notice_days == 365


def test_every_profile_that_is_shipped_loads() -> None:
    assert profiles.shipped()
    for name in profiles.shipped():
        assert profiles.load(name).name == name


def test_a_second_provider_shares_nothing_with_the_first_but_the_model() -> None:
    tiny = profiles.load(str(TINY))
    assert tiny.events.types == tuple(each for each in CATALOGUE if each.startswith("server."))
    assert tiny.limits.tier(None).webhooks == 2
    assert tiny.limits.tier("paid").rate == 2.0
    assert tiny.limits.tier("of a tier nobody knows") == tiny.limits.tier("free")
    assert tiny.errors.kinds[Fault.REFUSED].status == 400


@pytest.mark.parametrize("name", ["nordbastion2", "", "../profiles/nordbastion", "/etc/passwd"])
def test_a_profile_that_is_not_there_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(ProfileError, match=r"^HELIOGRAPH_PROFILE: .*nordbastion"):
        profiles.load(name)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=rf"^HELIOGRAPH_PROFILE: {tmp_path}/none.toml cannot be read \(No such file"):
        profiles.load(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "nordbastion"', "name = ", " is not TOML"),
        ('name = "nordbastion"', 'nam = "nordbastion"', ": name: Field required"),
        ('base = "/v1"', 'base = "v1"', ": base: String should match"),
        ('base = "/v1"', 'base = "/v1/"', ": base: String should match"),
        (
            'read = ["read-only", "full"]',
            'read = ["read_only", "full"]',
            ": credentials: read_only: not among `scopes`",
        ),
        ('write = ["full"]', "write = []", ": credentials.write: List should have at least 1"),
        ('api_key_prefix = "nb_live_"', 'api_key_prefix = "nb live"', ": credentials.api_key_prefix"),
        ('sign = "X-NB-Sign"\n', "", ": headers: `sign` and `signature` go together"),
        ('webhook_prefix = "x-nb-"', 'webhook_prefix = "X NB"', ": headers.webhook_prefix"),
        ('item = "$item"', 'item = "$itme"', ": responses.item: $itme is no value (there is: $item)"),
        ('item = "$item"', "item = {success = true}", ": responses.item: has no $item"),
        ('message = "$message"', 'message = "$text"', ": errors.body: $text is no value"),
        ("conflict = { status = 409", "conflikt = { status = 409", ": errors.kinds: conflikt: no such kind"),
        ('conflict = { status = 409, type = "conflict" }\n', "", ": errors.kinds: conflict: missing"),
        ("status = 409", "status = 200", ": errors.kinds.conflict.status"),
        ('data = "$items"', 'data = "$total"', ": lists.body: has no $items"),
        ("default_size = 20", "default_size = 200", ": lists: `default_size` is more than `max_size`"),
        ('filters = "bracket"', 'filters = "brackets"', ": lists.filters: Input should be 'bracket' or 'plain'"),
        ("read = 1000, ", "", ": limits.classes: must have exactly read, write, auth"),
        ("auth = 10", "auth = 0", ": limits.classes.auth"),
        ('default_tier = "standard"', 'default_tier = "normal"', ": limits: `default_tier` 'normal' is not among"),
        ('offered = ["*"]', 'offered = ["servers.*"]', ": events.offered: 'servers.*' is no event type"),
        ('offered = ["*"]', "offered = []", ": events.offered: List should have at least 1"),
    ],
)
def test_a_broken_profile_is_one_line_that_names_the_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert broken(tmp_path, old, new).startswith(said)


def test_a_notice_shorter_than_promised_is_refused(tmp_path: Path) -> None:
    said = broken(tmp_path, "sunset = 2026-12-01", "sunset = 2026-09-02", of=_with_bare_dates(tmp_path))
    assert said.startswith(": deprecations: list_recoveries ends 1 days after its notice, not 30")


def _with_bare_dates(tmp_path: Path) -> Path:
    """Return the tiny profile with its moments as TOML's own."""
    path = tmp_path / "bare.toml"
    text = TINY.read_text()
    for moment in ("2026-09-01T00:00:00Z", "2026-12-01T00:00:00Z"):
        text = text.replace(f'"{moment}"', moment)
    path.write_text(text)
    return path


# --- templates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "body"),
    [
        ("$a", 1),
        ({"x": "$a", "y": ["$b", "plain", 3]}, {"x": 1, "y": [None, "plain", 3]}),
        ({"x": "$b?"}, {}),
        ({"x": "$a?"}, {"x": 1}),
        ({"success": True, "of": {"x": "$b"}}, {"success": True, "of": {"x": None}}),
        ("$$", KeyError),
    ],
)
def test_a_template_is_filled(template: object, body: object) -> None:
    if body is KeyError:
        with pytest.raises(KeyError):
            templates.fill(template, {"a": 1, "b": None})
    else:
        assert templates.fill(template, {"a": 1, "b": None}) == body


NAMES = ("a", "b", "c")
TEMPLATES = st.recursive(
    st.sampled_from([*(f"${name}" for name in NAMES), "text", 7, True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["k", "l", "m"]), inner | st.sampled_from([f"${name}?" for name in NAMES]), max_size=3
        )
    ),
    max_leaves=8,
)
VALUES = st.fixed_dictionaries(dict.fromkeys(NAMES, st.integers() | st.none()))


@given(TEMPLATES, VALUES)
def test_what_a_template_makes_is_what_its_schema_says(template: Any, values: dict[str, int | None]) -> None:
    schema = templates.schema(template, {name: {"type": ["integer", "null"]} for name in NAMES})
    jsonschema.Draft202012Validator(schema).validate(templates.fill(template, values))


@given(TEMPLATES)
def test_the_names_a_template_asks_for_are_those_it_needs(template: Any) -> None:
    asked = set(templates.names(template))
    templates.fill(template, dict.fromkeys(asked, 0))
    assert asked <= set(NAMES)


def test_the_profile_is_frozen() -> None:
    profile = Profile.model_validate(tomllib.loads(NORDBASTION.read_text()))
    with pytest.raises(ValueError, match="frozen"):
        profile.base = "/v2"  # type: ignore[misc]  # that is the point
