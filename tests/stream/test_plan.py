"""The same global batches for any number of workers and from any update on."""

from dataclasses import replace

import numpy as np
import pytest

from longspan.errors import UserError
from longspan.stream.items import pack, unpack
from longspan.stream.plan import GROUP_TOKENS, StreamPlan, local_batches
from tests.sources import corrupt


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 16])
def test_any_number_of_workers_computes_the_same_rows(plan: StreamPlan, world_size: int) -> None:
    reader = plan.reader()
    ranks = [local_batches(plan, rank, world_size) for rank in range(world_size)]
    updates = 0
    for update, parts in enumerate(zip(*ranks, strict=True)):
        rows = plan.order.rows_of_update(update)
        indices = np.concatenate([part.indices for part in parts])
        real = indices >= 0
        assert indices[real].tolist() == [row.index for row in rows]
        tokens = np.concatenate([part.tokens for part in parts])[real]
        assert np.array_equal(tokens, np.stack([reader.read(row).tokens for row in rows]))
        assert (np.concatenate([part.labels for part in parts])[~real] == -100).all()
        updates += 1
    assert updates == plan.order.num_updates


@pytest.mark.parametrize(("groups", "degree"), [(1, 2), (2, 2), (3, 4)])
def test_workers_that_share_rows_get_what_one_would_get(
    plan: StreamPlan, groups: int, degree: int
) -> None:
    shared = replace(plan, sequence_parallel=degree)
    for index in range(groups):
        expected = list(local_batches(plan, index, groups))
        for rank in range(degree):
            found = list(local_batches(shared, index * degree + rank, groups * degree))
            assert [len(batch.rows) for batch in found] == [
                0 if rank else len(batch.rows) for batch in expected
            ]
            for one, other in zip(found, expected, strict=True):
                assert (one.update, one.length) == (other.update, other.length)
                for name in ("indices", "tokens", "labels", "positions"):
                    assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_items_are_the_same_for_workers_that_share_rows(plan: StreamPlan) -> None:
    shared = replace(plan, sequence_parallel=2, item_tokens=600)
    reader = plan.reader()
    given: list[int] = []
    for group in range(shared.num_groups(4)):
        first, second, third, last = shared.read_group(reader, group, 4)
        assert first.indices.tolist() == second.indices.tolist()
        assert third.indices.tolist() == last.indices.tolist()
        given += [*first.indices.tolist(), *third.indices.tolist()]
    assert sorted(given) == list(range(plan.order.num_rows))
    assert shared.updates_per_group(4) == replace(plan, item_tokens=600).updates_per_group(2)


def test_a_restart_goes_on_where_it_was(plan: StreamPlan) -> None:
    expected = list(local_batches(plan, 1, 2))[25:]
    for one, other in zip(
        local_batches(replace(plan, first_update=25), 1, 2), expected, strict=True
    ):
        assert one.update == other.update
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.positions, other.positions)


@pytest.mark.parametrize("world_size", [1, 3, 64])
@pytest.mark.parametrize("most_items", [1, 7, 100, 10**6])
@pytest.mark.parametrize("item_tokens", [1, 600, 10**9])
@pytest.mark.parametrize("first_update", [0, 13, 40])
def test_groups_cover_every_update_once(
    plan: StreamPlan, world_size: int, most_items: int, item_tokens: int, first_update: int
) -> None:
    plan = replace(plan, first_update=first_update, most_items=most_items, item_tokens=item_tokens)
    groups = plan.num_groups(world_size)
    assert groups * world_size <= max(most_items, world_size)
    covered = [plan.updates_of_group(group, world_size) for group in range(groups)]
    assert all(covered)
    assert [update for updates in covered for update in updates] == list(range(first_update, 40))


def test_an_item_holds_about_the_tokens_asked_for(plan: StreamPlan) -> None:
    # An update has 256 tokens in both stages, of 8 and of 2 rows.
    assert replace(plan, item_tokens=256).updates_per_group(1) == 1
    assert replace(plan, item_tokens=600).updates_per_group(1) == 2
    assert replace(plan, item_tokens=600).updates_per_group(2) == 4
    # A group is read as a whole: it has a bound however many ranks there are.
    assert replace(plan, item_tokens=2**20).updates_per_group(64) == GROUP_TOKENS // 256


@pytest.mark.parametrize("world_size", [1, 5])
def test_a_group_is_read_in_the_order_of_its_rows(plan: StreamPlan, world_size: int) -> None:
    plan = replace(plan, item_tokens=7 * 256)
    alone, reader = plan.reader(), plan.reader()
    whole = [alone.read(plan.order.row(i)).index for i in range(plan.order.num_rows)]
    groups = [
        plan.read_group(reader, group, world_size) for group in range(plan.num_groups(world_size))
    ]
    ranks = [[row.index for items in groups for row in items[rank]] for rank in range(world_size)]
    assert sorted(index for indices in ranks for index in indices) == whole
    assert all(indices == sorted(indices) for indices in ranks)
    # Else the windows that a group's updates lie in would be read again for every rank.
    assert reader.blocks_read == alone.blocks_read


def test_rows_travel_as_they_are(plan: StreamPlan) -> None:
    reader = plan.reader()
    # Two lengths, and one source that repeats.
    rows = plan.read(reader, range(19, 21), 0, 1)
    arrived = unpack(pack(rows))
    assert len(arrived) == 10
    for sent, got in zip(rows, arrived, strict=True):
        assert (got.index, got.update, got.source) == (sent.index, sent.update, sent.source)
        for name in ("tokens", "starts", "documents", "offsets"):
            assert getattr(got, name).dtype == getattr(sent, name).dtype
            assert np.array_equal(getattr(got, name), getattr(sent, name))
    assert not unpack(pack([]))
    assert pack([]).schema == pack(rows).schema


def test_a_mistake_travels_in_place_of_rows(plan: StreamPlan) -> None:
    item = pack([], UserError("shard x is corrupt"))
    assert item.schema == pack(plan.read(plan.reader(), range(1), 0, 1)).schema
    with pytest.raises(UserError, match="shard x is corrupt"):
        unpack(item)


def test_a_corrupt_shard_is_named(plan: StreamPlan) -> None:
    corrupt(plan.store, plan.manifests[0].train[0].shard)
    with pytest.raises(UserError, match=r"a/train\.parquet"):
        list(local_batches(plan, 0, 1))
