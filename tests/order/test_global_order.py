"""The sequence of global batches: the same for any numbers of workers, stops and restarts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.order.order import Order
from longspan.storage import Store
from longspan.stream.batch import rank_share
from longspan.stream.plan import StreamPlan
from tests.order.test_order import orders

STARTS = st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1)), max_size=4).flatmap(
    lambda starts: st.tuples(st.integers(1, 64), st.just(1.0)).map(lambda last: [*starts, last])
)


@settings(max_examples=60, deadline=None)
@given(order=orders(), data=st.data())
def test_any_workers_and_restarts_give_every_row_once_and_in_its_update(
    order: Order, data: st.DataObject
) -> None:
    trained: list[int] = []
    update = 0
    for workers, part in data.draw(STARTS):
        # A start with so many workers, from the last checkpoint to some later one.
        plan = StreamPlan(Store("/nowhere"), (), order, update, document_mask=True)
        groups = [plan.updates_of_group(i, workers) for i in range(plan.num_groups(workers))]
        streamed = [done for covered in groups for done in covered]
        assert streamed == list(range(update, order.num_updates))
        checkpoint = update + round(part * (order.num_updates - update))
        for done in range(update, checkpoint):
            shares = [plan.indices(done, rank, workers) for rank in range(workers)]
            most = rank_share(order.stage_of_update(done).rows_per_update, 0, workers)[1]
            assert max(map(len, shares)) <= most
            trained += [index for rows in shares for index in rows]
        update = checkpoint
    assert update == order.num_updates
    assert trained == list(range(order.num_rows))
