"""Tensors of Python numbers on a device that is only pretended, and in recordings."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kopt.device.build.host_data import HostData
from kopt.device.build.stub_gpu import Addresses, pretend
from kopt.device.build.trace import _made_up
from kopt.device.cuda.recording.capture import _Recording
from kopt.device.reference.dispatch import DispatchMode
from kopt.device.reference.rejection import Rejected
from tests.device.recorded import h100

MADE = {
    "list": lambda x: torch.tensor([1, 2, 3], device="cuda"),
    "one number": lambda x: torch.tensor(2.0, device=x.device, dtype=torch.float16),
    "as_tensor": lambda x: torch.as_tensor([1.0], device="cuda"),
    "asarray": lambda x: torch.asarray([1, 2], device="cuda:0"),
    "new_tensor": lambda x: x.new_tensor([1, 2]),
    "scalar_tensor": lambda x: torch.scalar_tensor(3.0, device="cuda"),
    "moved by to": lambda x: torch.tensor(2.0).to(x.device),
    "moved by cuda": lambda x: torch.tensor([5]).cuda(),
    "moved by to another tensor": lambda x: torch.tensor(5.0).to(x),
    "pinned": lambda x: torch.tensor([5], pin_memory=True).pin_memory().cuda(non_blocking=True),
    "device by number": lambda x: torch.zeros(3, device=0),
    "indexed by a list": lambda x: x[[0, 1]],
    "indexed by lists": lambda x: x[[0, 1], [2, 3]],
    "default device": lambda x: _by_default(),
}


def _by_default():
    with torch.device("cuda"):
        return torch.tensor([1.0, 2.0])


def _forbidden(words):
    raise AssertionError(words)


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_numbers_become_a_tensor_on_a_pretended_device(made):
    with pretend(h100(), _forbidden), FakeTensorMode(allow_non_fake_inputs=True):
        tensor = made(torch.empty(4, 6, device="cuda"))
        assert tensor.device == torch.device("cuda:0")


def test_numbers_on_the_host_keep_their_values_on_a_pretended_device():
    with pretend(h100(), _forbidden), FakeTensorMode(allow_non_fake_inputs=True):
        number = torch.tensor(2.0)
        number.cuda()
        assert number.item() == 2.0


class _Seen(DispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "make", [torch.tensor, torch.as_tensor, torch.asarray, torch.empty(1, device="meta").new_tensor]
)
def test_a_recording_sees_the_copy_of_numbers_to_a_device(make):
    with _Seen() as seen, HostData():
        tensor = make([1.0, 2.0], device="meta", dtype=torch.float64)
    assert tensor.device.type == "meta"
    assert tensor.dtype is torch.float64
    assert seen.names[-1] == "aten::_to_copy"


@pytest.mark.parametrize(
    "number", [1 << 60, 1 << 62, (1 << 63) - 1, 1 << 42, 10**13, 10**18, 0, -1, 4096, 0x9E3779B97F4A7C15]
)
def test_an_honest_number_is_no_address(number):
    tensors = [torch.empty(1 << 34, dtype=torch.float32, device="meta") for _ in range(3)]
    addresses = Addresses()
    for turn in range(4):
        addresses.place(tensors, _made_up(tensors, turn))
    others = [torch.empty(1 << 20, device="meta") for _ in range(50)]
    assert all(addresses.holds(addresses.of(tensor)) for tensor in (*tensors, *others))
    assert not addresses.holds(number)


def launched(numbers, tensors):
    """Record a launch with these numbers, made by a call that has these tensors."""
    recording = _Recording(tensors, "cpu")
    recording._passed = list(enumerate(numbers))
    recording.check_numbers()


def test_an_address_passed_as_a_number_cannot_be_recorded():
    x = torch.empty(100)
    for number in (x.data_ptr(), x.data_ptr() + 396, x[50:].data_ptr()):
        with pytest.raises(Rejected, match="argument 1 is a tensor's address as a number"):
            launched([5, number], [x])
    launched([0, 1, True, 400, 1 << 31, (1 << 63) - 1, x.data_ptr() + 400], [x, torch.empty(0)])
