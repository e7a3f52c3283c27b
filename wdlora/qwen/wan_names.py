"""Names of the VAE's tensors: diffusers' AutoencoderKLQwenImage → Wan's, which ComfyUI reads."""

_BLOCK = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
_ENDS = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
_STAGES = 4  # entries of Wan's decoder a block: three residual blocks and what enlarges


def wan_name(name: str) -> str:
    """The name in Wan's layout of a tensor of diffusers', such as `decoder.mid_block.resnets.0.norm1.gamma`."""
    side, _, rest = name.partition(".")
    if side in ("quant_conv", "post_quant_conv"):
        return {"quant_conv": "conv1", "post_quant_conv": "conv2"}[side] + f".{rest}"
    part, _, rest = rest.partition(".")
    if part in _ENDS:
        return f"{side}.{_ENDS[part]}.{rest}"
    words = rest.split(".")
    if part == "down_blocks":
        words[1] = _BLOCK.get(words[1], words[1])
        return f"{side}.downsamples." + ".".join(words)
    if part == "mid_block" and words[0] == "attentions":
        return f"{side}.middle.1." + ".".join(words[2:])
    if part == "mid_block":
        return f"{side}.middle.{2 * int(words[1])}.{_BLOCK[words[2]]}.{words[3]}"
    block, kind, index = int(words[0]), words[1], int(words[2])
    if kind == "upsamplers":
        return f"{side}.upsamples.{_STAGES * block + _STAGES - 1}." + ".".join(words[3:])
    return f"{side}.upsamples.{_STAGES * block + index}.{_BLOCK[words[3]]}.{words[4]}"
