"""Names of the VAE's tensors in Wan's layout against diffusers' own conversion, which goes the other way."""

import pytest
import torch

from wdlora.qwen.wan_names import wan_name


@pytest.mark.parametrize("base", [8, 16])
def test_inverse_of_diffusers_conversion(base):
    from diffusers import AutoencoderKLQwenImage
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    with torch.device("meta"):
        names = list(AutoencoderKLQwenImage(base_dim=base).state_dict())
    back = convert_wan_vae_to_diffusers({wan_name(name): name for name in names})
    assert len(names) > 100
    assert back == {name: name for name in names}
