"""What came more than once is found, and nothing else, whatever the hashes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from batchgen.manifest.comparison import path_hash
from batchgen.naming import collision_key, file_stem
from batchgen.seen import Seen

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
DEVICES = st.sampled_from(["con", "NUL", "Aux", "prn", "com1", "LPT9", "nul.txt", "con-"])
IDS = st.text() | st.from_regex(r"[A-Za-z0-9_-]{3,8}", fullmatch=True) | DEVICES


@given(st.lists(INT64 | st.integers(-2, 2)))
def test_a_hash_is_repeated_if_it_was_added_more_than_once(hashes: list[int]) -> None:
    seen = Seen()
    for hashed in hashes:
        seen.add(hashed)
    assert seen.repeated() == {hashed for hashed, n in Counter(hashes).items() if n > 1}


@given(IDS)
def test_an_id_is_hashed_as_its_file_is_named_on_the_least_of_disks(identity: str) -> None:
    assert path_hash(identity) == hash(collision_key(file_stem(identity)))
