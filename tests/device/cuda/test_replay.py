"""Recording and replaying what surrounds launches; on the CPU, where torch does the same as on a GPU."""

import pytest
import torch

from kopt.device.cuda.recording.capture import CallCapture
from kopt.device.cuda.recording.program import Allocate, Operation, RecordedCall, Scalar, View
from kopt.device.cuda.recording.replay import NotReplayable, Replay, _nested
from kopt.device.cuda.storage import flat_bytes
from kopt.device.reference.rejection import Rejected
from kopt.model.build import Phase


def record(call, *arguments):
    return CallCapture("cpu").program("main", arguments, lambda: call(*arguments))


def replay(program, *arguments):
    ready = Replay(RecordedCall.model_validate_json(program.model_dump_json()), {}, None, "cpu")
    tensors = ready.run([flat_bytes(tensor) for tensor in arguments], memory=ready.memory())
    return tensors[0] if program.structure == "Tensor" else tensors


def surroundings(x):
    """Allocation, fill, views, casts, copies, concatenation: all that may surround a launch."""
    out = torch.zeros(4, 3, dtype=torch.float32)
    out[:2].copy_(x.to(torch.float32))
    both = torch.cat([out.t(), torch.full((1, 4), 7.0)])
    out[3].fill_(2.5)
    both[0, 1:3] = torch.tensor([5.0, 6.0])
    return both.to(torch.bfloat16)[1:]


def test_a_replay_on_other_inputs_does_what_the_call_would_do():
    first, second = torch.randn(2, 3).bfloat16(), torch.randn(2, 3).bfloat16()
    program = record(surroundings, first)
    assert torch.equal(replay(program, second), surroundings(second))


def test_an_output_may_be_a_view_of_an_input():
    x = torch.arange(12.0).view(3, 4)
    program = record(lambda x: x.t()[1:], x)
    assert program.steps == ()
    assert torch.equal(replay(program, x + 1), (x + 1).t()[1:])


def test_several_outputs_are_replayed_in_order_and_an_argument_is_changed_in_place():
    def call(x, kept):
        kept[1:].copy_(x)
        return {"same": x, "none": None, "copy": [x.clone(), kept]}

    x, kept = torch.ones(3), torch.zeros(4)
    program = record(call, x, kept)
    assert program.structure == "{'copy': [Tensor, Tensor], 'none': None, 'same': Tensor}"
    first, second = torch.arange(3.0), torch.full((4,), 9.0)
    copy, changed, same = replay(program, first, second)
    assert torch.equal(copy, first)
    assert torch.equal(same, first)
    assert changed.tolist() == second.tolist() == [9.0, 0.0, 1.0, 2.0]


def test_a_call_without_an_output_is_recorded():
    def call(x):
        x.fill_(2.0)

    program = record(call, torch.ones(2))
    assert (program.structure, program.outputs) == ("None", ())
    x = torch.ones(2)
    assert replay(program, x) == []
    assert x.tolist() == [2.0, 2.0]


def test_a_replay_keeps_strides_and_offsets_of_arguments():
    x = torch.arange(12.0)[2:].view(2, 5).t()
    program = record(lambda x: x[1:], x)
    (view,) = program.outputs
    assert (view.stride, view.offset) == ((1, 5), 3)
    assert torch.equal(replay(program, x), x[1:])


def test_what_was_never_written_is_nan_in_a_replay():
    program = record(lambda x: torch.empty(5), torch.zeros(1))
    assert replay(program, torch.zeros(1)).isnan().all()


def test_a_workspace_may_be_kept_but_what_it_held_is_not_there():
    kept = torch.full((3,), 4.0)
    x = torch.arange(3.0)
    written = record(lambda x: kept.copy_(x), x)
    assert torch.equal(replay(written, x + 1), x + 1)
    stale = record(lambda x: kept, x)
    assert replay(stale, x).isnan().all()


@pytest.mark.parametrize("call", [lambda x: x @ x, lambda x: x + 1, lambda x: x.sum(), lambda x: torch.relu(x)])
def test_computing_with_torch_is_not_recorded_but_refused(call):
    with pytest.raises(Rejected) as refused:
        record(call, torch.ones(2, 2))
    assert refused.value.phase is Phase.FALLBACK


@pytest.mark.parametrize("name", ["aten::mm.default", "aten::add.Tensor", "os::system.default", "aten::empty.default"])
def test_a_forged_program_can_do_nothing_but_copy_and_fill(name):
    step = Operation(name=name, arguments=(), result=1)
    with pytest.raises(NotReplayable):
        Replay(program(step), {}, None, "cpu")


def test_a_forged_program_cannot_reach_outside_its_storages():
    for view in (view_of(0, shape=(9,)), view_of(0, offset=2), view_of(7)):
        forged = program(output=view)
        with pytest.raises((NotReplayable, RuntimeError)):
            replay(forged, torch.zeros(2))


def test_a_program_for_other_arguments_is_not_run():
    with pytest.raises(NotReplayable):
        replay(program(), torch.zeros(2), torch.zeros(2))


def test_a_fill_is_replayed_as_it_was():
    filled = program(
        Allocate(storage=1, bytes=8),
        Operation(name="aten::fill_.Scalar", arguments=(view_of(1), Scalar(value=3))),
        output=view_of(1),
    )
    assert replay(filled, torch.zeros(2)).tolist() == [3.0, 3.0]


def view_of(storage, offset=0, shape=(2,)):
    return View(storage=storage, offset=offset, shape=shape, stride=(1,), dtype="float32")


def program(*steps, output=None):
    return RecordedCall(workload="main", arguments=1, steps=steps, outputs=(output or view_of(0),))


@pytest.mark.parametrize("kind", ["*bf16", "i32", "constexpr", "nvTmaDesc", "tensordesc<bf16[64, 64]>", "fp64"])
def test_types_of_arguments_are_let_pass(kind):
    assert _nested([kind, [kind]]) == (kind, (kind,))


@pytest.mark.parametrize("kind", ["i32; system(0)", 'i32"', "f(x)", "i32\n#include", "{"])
def test_texts_that_are_no_types_are_refused(kind):
    with pytest.raises(NotReplayable, match="no type"):
        _nested([kind])
