from io import StringIO

import pytest
from rich.console import Console

from lesion_transfer.reporting.progress import Progress, duration


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def console(terminal):
    return Console(file=StringIO(), force_terminal=terminal, width=90)


def test_plain_lines_are_few_and_plain(clock):
    out = console(False)
    with Progress(out, clock=clock) as progress:
        progress.start(180, "folds")
        for fold in range(100):
            progress.now(f"melanoma_vs_benign · E · fold {fold} [bold]" + "x" * 80)
            clock.seconds += 1
            progress.advance()
        progress.note("kept")
        progress.note("kept")  # of two arms
    lines = out.file.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("10/180 folds · 3 min left · melanoma_vs_benign · E · fold 9 [bold]")
    assert lines[-1] == "kept"
    assert "\x1b" not in out.file.getvalue()
    assert "\r" not in out.file.getvalue()


def test_a_slow_part_shows_where_it_is(clock):
    out = console(False)
    with Progress(out, clock=clock) as progress:
        progress.now("preprocess")
        clock.seconds += 11
        progress.track(500, 2000)
    assert out.file.getvalue() == "preprocess 500/2000\n"


def test_terminal_has_a_region_and_lines_that_stay(clock):
    out = console(True)
    with Progress(out, clock=clock) as progress:
        progress.start(20, "folds")
        progress.now("melanoma_vs_benign · E · fold 3x2 · epoch")
        progress.note("arm E: 82.5 [±] 1.2")
        clock.seconds += 60
        progress.advance(2)
        progress.track(4, 10)
        progress._live.refresh()
    text = out.file.getvalue()
    assert "arm E: 82.5 [±] 1.2" in text
    assert "2/20 folds" in text
    assert "60 s elapsed · 9 min left" in text
    assert "4/10" in text


def test_time_left_ignores_what_was_reused(clock):
    progress = Progress(quiet=True, clock=clock)
    progress.start(100, "folds")
    clock.seconds += 1
    progress.advance(50, reused=True)
    assert progress.seconds_left is None
    clock.seconds += 10
    progress.advance()
    assert progress.seconds_left == pytest.approx(49 * 10)
    progress.total(61)
    assert progress.seconds_left == pytest.approx(10 * 10)


def test_quiet_writes_nothing(clock):
    for terminal in (True, False):
        out = console(terminal)
        with Progress(out, quiet=True, clock=clock) as progress:
            progress.start(2, "folds")
            clock.seconds += 100
            progress.advance()
            progress.note("no")
        assert out.file.getvalue() == ""


def test_leaves_the_terminal_in_order_after_an_error(clock):
    out = console(True)
    with pytest.raises(ZeroDivisionError), Progress(out, clock=clock):
        print(1 / 0)
    assert out.file.getvalue().count("\x1b[?25l") == out.file.getvalue().count("\x1b[?25h")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (200, "3 min"), (7500, "2 h 05 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
