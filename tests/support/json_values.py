"""What JSON can hold, for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

# All of Unicode but halves of surrogate pairs.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    text,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=8,
)
#: Few keys, so that two documents often share some.
keys = st.sampled_from(["a", "b", "c", "d", "é 👩‍👩‍👧", ""])
documents = st.dictionaries(keys, values, max_size=5)
