"""Put a model into evaluation mode, save for the modules that its own code puts into training mode."""

from collections.abc import Callable
from typing import Any

import torch


def made_in_evaluation_mode(make: Callable[[], Any]) -> Any:
    """Make a model and put it into evaluation mode, save for modules whose mode its own code sets (`self.train()`).

    A module whose mode nobody sets has that of the module that holds it.

    Args:
        make: makes the model; what is no module is returned as it is.
    """
    modes: dict[int, tuple[torch.nn.Module, bool]] = {}
    sets = torch.nn.Module.__setattr__

    def noted(module: torch.nn.Module, name: str, value: Any) -> None:
        if name == "training":
            modes[id(module)] = module, bool(value)
        sets(module, name, value)

    torch.nn.Module.__setattr__ = noted  # type: ignore[assignment, method-assign]  # as torch's own setter
    try:
        model = make()
    finally:
        torch.nn.Module.__setattr__ = sets  # type: ignore[method-assign]
    if isinstance(model, torch.nn.Module):
        waiting = [(model, False)]
        while waiting:
            module, mode = waiting.pop()
            module.training = modes.get(id(module), (module, mode))[1]
            waiting += [(child, module.training) for child in module.children()]
    return model
