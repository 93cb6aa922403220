"""Whose memory is whose."""

import os

from model_engine_runtime.agent.process.memory import Sample, proportional_bytes, read_processes, trees_of


def test_descendants_and_orphans_of_the_group_count():
    samples = [
        Sample(pid=1, parent=0, group=1, resident_bytes=1),
        Sample(pid=10, parent=1, group=10, resident_bytes=100),  # a root
        Sample(pid=11, parent=10, group=10, resident_bytes=20),
        Sample(pid=12, parent=11, group=12, resident_bytes=3),  # a grandchild in a group of its own
        Sample(pid=13, parent=1, group=10, resident_bytes=4),  # its parent has ended
        Sample(pid=20, parent=1, group=20, resident_bytes=1000),  # another root
        Sample(pid=30, parent=1, group=30, resident_bytes=5),  # nobody's
    ]
    trees = trees_of(samples, {10, 20, 99})
    sums = {root: sum(sample.resident_bytes for sample in tree) for root, tree in trees.items()}
    assert sums == {10: 127, 20: 1000}


def test_this_process_is_read():
    [own] = [sample for sample in read_processes() if sample.pid == os.getpid()]
    assert (own.parent, own.group) == (os.getppid(), os.getpgrp())
    assert 0 < proportional_bytes([own]) <= own.resident_bytes * 1.5
