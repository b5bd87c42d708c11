"""What a check tells of right and of wrong answers, for chapters that list both."""

import pytest


def right_and_wrong(right: list[tuple], wrong: list[tuple]) -> tuple:
    """Return two tests: of (check, answer) and of (check, answer, part of its hint)."""

    @pytest.mark.parametrize(("check", "answer"), right)
    def test_right(check, answer, capsys):
        assert check(answer) is True
        assert capsys.readouterr().out.startswith("Right: ")

    @pytest.mark.parametrize(("check", "answer", "hint"), wrong)
    def test_wrong(check, answer, hint, capsys):
        assert check(answer) is False
        out = capsys.readouterr().out
        assert out.startswith("Not quite: ")
        assert hint in out

    return test_right, test_wrong
