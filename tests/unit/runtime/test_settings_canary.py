"""Which keys count for a canary: whole fingerprints, each once, as many as are asked for."""

from __future__ import annotations

import pytest

from runtime.settings import Settings, SettingsError, load

ALICE, BOB = "A" * 40, "B" * 40


def _load(**environ: str) -> Settings:
    return load(environ={f"HELIOGRAPH_{name}": value for name, value in environ.items()})


def test_no_key_counts_unless_it_is_pinned() -> None:
    assert (_load().canary_keys, _load().canary_threshold) == ((), None)


def test_fingerprints_are_taken_as_gpg_prints_them() -> None:
    spaced = " ".join(["aaaa"] * 5) + "  " + " ".join(["aaaa"] * 5)
    assert _load(CANARY_KEYS=f"{spaced}, {BOB}", CANARY_THRESHOLD="2").canary_keys == (ALICE, BOB)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CANARY_KEYS": "A" * 16}, "HELIOGRAPH_CANARY_KEYS: 'AAAAAAAAAAAAAAAA' is not a fingerprint of 40 hex"),
        ({"CANARY_KEYS": f"0x{'A' * 40}"}, "HELIOGRAPH_CANARY_KEYS: '0xAAAA"),
        ({"CANARY_KEYS": f"{ALICE},{ALICE.lower()}"}, "HELIOGRAPH_CANARY_KEYS: names a key twice"),
        ({"CANARY_KEYS": ALICE, "CANARY_THRESHOLD": "2"}, "HELIOGRAPH_CANARY_THRESHOLD: is 2, of 1 keys"),
        ({"CANARY_KEYS": ALICE, "CANARY_THRESHOLD": "0"}, "HELIOGRAPH_CANARY_THRESHOLD: Input should be greater"),
    ],
)
def test_what_could_never_be_met_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        _load(**environ)
    assert str(caught.value).startswith(words)
