"""What a profile says for pages and for security.txt, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from publisher import profiles
from publisher.profiles import ProfileError

TINY = Path(__file__).parents[2] / "support" / "profiles" / "tiny.toml"


def loaded(tmp_path: Path, section: str) -> profiles.Profile:
    path = tmp_path / "made.toml"
    path.write_text(f"{TINY.read_text()}\n{section}")
    return profiles.load(str(path))


def test_nordbastion_says_whom_to_tell() -> None:
    profile = profiles.load("nordbastion")
    assert profile.site is not None
    assert profile.site.name == "NordBastion"
    assert profile.security is not None
    assert profile.security.contact[0] == "mailto:security@nordbastion.com"


def test_a_profile_need_not_say_it() -> None:
    profile = profiles.load(str(TINY))
    assert (profile.site, profile.security) == (None, None)


@pytest.mark.parametrize("contact", ["mailto:a@b.example", "https://b.example/x", "tel:+1-201-555-0123"])
def test_contacts_are_addresses_of_some_kind(tmp_path: Path, contact: str) -> None:
    security = loaded(tmp_path, f'[security]\ncontact = ["{contact}"]\n').security
    assert security is not None
    assert (security.contact, security.languages, security.policy) == ([contact], [], None)


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ("[security]\ncontact = []", "security.contact"),
        ('[security]\ncontact = ["a@b.example"]', "security.contact.0"),
        ('[security]\ncontact = ["http://b.example"]', "security.contact.0"),
        ('[security]\ncontact = ["mailto:a@b.example\\nExpires: never"]', "security.contact.0"),
        ('[security]\ncontact = ["mailto:a@b.example"]\nlanguages = ["en, sv"]', "security.languages.0"),
        ('[security]\ncontact = ["mailto:a@b.example"]\nhiring = "x"', "security.hiring"),
        ('[site]\nname = ""\nurl = "https://b.example/"', "site.name"),
        ('[site]\nname = "B"\nurl = "javascript:x"', "site.url"),
    ],
)
def test_what_would_not_do_is_named(tmp_path: Path, section: str, where: str) -> None:
    with pytest.raises(ProfileError, match=rf"made\.toml: {where}: "):
        loaded(tmp_path, section)
