"""The adapted bitsandbytes layers, apart because importing this module imports bitsandbytes."""

from bitsandbytes import nn as bnb
from peft.tuners.lora import bnb as peft_bnb
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from .adapted import Adapted


class AdaptedLinear4bit(Adapted, peft_bnb.Linear4bit):
    """An adapted bitsandbytes 4-bit linear layer."""


class AdaptedLinear8bitLt(Adapted, peft_bnb.Linear8bitLt):
    """An adapted bitsandbytes 8-bit linear layer."""


CLASSES: dict[type[nn.Module], type[LoraLayer]] = {
    bnb.Linear4bit: AdaptedLinear4bit,
    bnb.Linear8bitLt: AdaptedLinear8bitLt,
}
