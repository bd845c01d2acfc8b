"""What is read of a program that XLA compiled for a GPU."""

import pytest
from gpu_hlo import Loop, opcode, read_program

PROGRAM = """
HloModule jit_run, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%inner (x: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x = (s32[], f32[4]{0}) parameter(0)
  %y = f32[4]{0} get-tuple-element(%x), index=1
  %z = f32[4]{0} fusion(%y), kind=kLoop, calls=%add
  ROOT %out = (s32[], f32[4]{0}) tuple(%y, %z)
}

%taken (x: f32[4]) -> f32[4] {
  %x.2 = f32[4]{0} parameter(0)
  ROOT %copy.2 = f32[4]{0} copy(%x.2)
}

%left (x: f32[4]) -> f32[4] {
  ROOT %x.3 = f32[4]{0} parameter(0)
}

%outer (x: (s32[], f32[4])) -> (s32[], f32[4]) {
  %x.4 = (s32[], f32[4]{0}) parameter(0)
  %gemm = (f32[4,4]{1,0}, s8[64]{0}) custom-call(%x.4), custom_call_target="__cublas$gemm"
  %sums = f32[4]{0} fusion(%gemm), kind=kInput, calls=%add
  ROOT %w = (s32[], f32[4]) while(%x.4), body=%inner, backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %w.1 = (s32[], f32[4]) while(%p), body=%outer, backend_config={"known_trip_count":{"n":"5"}}
  %w.2 = (s32[], f32[4]{0}) while(%p), body=%inner
  %c = f32[4]{0} conditional(%p), branch_computations={%taken, %left}
  ROOT %last = f32[4]{0} bitcast(%c)
}
"""


def test_loops_and_branches_are_told_apart() -> None:
    inner = Loop(3, 1, 0, ())
    taken, left = Loop(1, 1, 0, ()), Loop(1, 0, 0, ())
    expected = Loop(1, 0, 1, (Loop(5, 2, 0, (inner,)), Loop(None, 1, 0, ()), taken, left))
    assert read_program(PROGRAM) == expected


def test_kernels_of_all_rounds_are_counted() -> None:
    """5 (2 + 3) of the nested loops, one of a loop of unknown length, one of a branch."""
    assert read_program(PROGRAM).launches() == 5 * (2 + 3) + 1 + 1


def test_the_host_waits_at_branches_and_unknown_loops() -> None:
    assert read_program(PROGRAM).waits() == 2


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("  %a = f32[4]{0} fusion(%b), kind=kLoop", "fusion"),
        ("  ROOT %a = ((s32[2]{0}, pred[]), f32[4]{0}) custom-call(%b)", "custom-call"),
        ("  %a = (f32[4]{0:T(8)}, s32[]) get-tuple-element(%b), index=1", "get-tuple-element"),
    ],
)
def test_the_kind_follows_the_type(line: str, kind: str) -> None:
    assert opcode(line) == kind


def test_a_text_without_a_program_is_refused() -> None:
    with pytest.raises(ValueError, match="no entry computation"):
        read_program("HloModule empty")
