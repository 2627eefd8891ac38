"""Order of requests: a function of their set, groups whole, the longest first."""

from hypothesis import given
from hypothesis import strategies as st

from longspan.generate.order import grouped_longest_first

Asked = tuple[str, str, int]
"""Document, sample, and length: together a request of its own."""

requests = st.sets(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(0, 9)),
    min_size=1,
    max_size=40,
)


def ordered(items: list[Asked]) -> list[Asked]:
    return grouped_longest_first(
        items, lambda item: item[2], lambda item: (item[0], item[1], f"{item[2]:02}")
    )


def blocks(items: list[Asked], size: int) -> list[list[Asked]]:
    """Runs of items with the same outer groups."""
    found: list[list[Asked]] = []
    for item in items:
        if found and found[-1][-1][:size] == item[:size]:
            found[-1].append(item)
        else:
            found.append([item])
    return found


@given(requests, st.randoms(use_true_random=False))
def test_requests_on_a_document_follow_one_another_the_longest_first(items, random) -> None:
    given_in = list(items)
    random.shuffle(given_in)
    found = ordered(given_in)
    assert found == ordered(sorted(items)) and set(found) == items
    for size in (1, 2, 3):
        groups = blocks(found, size)
        assert len({group[0][:size] for group in groups}) == len(groups), "a group was divided"
    for within in ([found], blocks(found, 1)):
        for group in within:
            inner = blocks(group, 1 if group is found else 2)
            heads = [max(item[2] for item in each) for each in inner]
            assert heads == sorted(heads, reverse=True)
            assert group[0][2] == max(item[2] for item in group)


@given(requests, st.data())
def test_what_is_done_already_changes_no_order_within_a_sample(items, data) -> None:
    left = set(data.draw(st.permutations(sorted(items)))[: len(items) // 2])
    for each in {item[:2] for item in left}:
        own = [item for item in ordered(list(items)) if item[:2] == each and item in left]
        assert [item for item in ordered(list(left)) if item[:2] == each] == own
