from lesion_transfer.execution import in_this_process


def test_tasks_come_back_with_their_results_in_the_order_given():
    assert list(in_this_process([3, 1, 2], lambda task: task * 10)) == [(3, 30), (1, 10), (2, 20)]


def test_a_task_starts_after_the_result_before_it_was_taken():
    started = []
    results = in_this_process("abc", started.append)
    assert started == []
    next(results)
    assert started == ["a"]


def test_no_tasks_give_no_results():
    assert list(in_this_process([], lambda task: 1 / 0)) == []
