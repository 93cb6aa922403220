"""Bounded logs: what the shim writes, the agent reads."""

from model_engine_runtime.agent.log_files import TAIL_BYTES, read_from, tail
from model_engine_runtime.agent.process.shim import Log


def read_all(folder, offset=0):
    content, end = read_from(folder, "model", offset, 1 << 20)
    return content.decode(), end


def test_a_log_reads_as_it_was_written_over_the_borders_of_files(tmp_path):
    log = Log(str(tmp_path), "model", max_bytes=10)
    for line in (b"first\n", b"second\n", b"third\n"):
        log.write(line)
    assert read_all(tmp_path) == ("first\nsecond\nthird\n", 19)
    assert read_all(tmp_path, 6) == ("second\nthird\n", 19)
    assert read_from(tmp_path, "model", 6, 4) == (b"seco", 10)


def test_a_log_is_bounded_and_offsets_stay_true(tmp_path):
    log = Log(str(tmp_path), "model", max_bytes=10)
    for number in range(100):
        log.write(b"line %03d\n" % number)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * 18
    text, end = read_all(tmp_path)
    assert text.endswith("line 099\n")
    assert end == 900
    assert read_all(tmp_path, 891) == ("line 099\n", 900)
    assert read_all(tmp_path, 900) == ("", 900)


def test_the_tail_is_fifty_lines_and_eight_kibibytes_at_most(tmp_path):
    log = Log(str(tmp_path), "model", max_bytes=1 << 20)
    for number in range(100):
        log.write(b"line %d\n" % number)
    assert tail(tmp_path, "model").splitlines() == [f"line {number}" for number in range(50, 100)]
    log.write(b"x" * 100_000)
    assert len(tail(tmp_path, "model")) == TAIL_BYTES
    assert tail(tmp_path, "forwarder") == ""


def test_bytes_that_are_no_text_do_not_break_it(tmp_path):
    Log(str(tmp_path), "model", max_bytes=100).write(b"caf\xe9 \xff\n")
    assert tail(tmp_path, "model") == "caf\ufffd \ufffd"
