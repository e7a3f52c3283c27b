"""Small pictures of latents while they are sampled, by a linear map that is fitted to the VAE at hand."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import HostEngine, HostVae

_SIDE = 256


class Previewer:
    """Latents → picture: colour = latent · weights + offset, least squares on one probe picture.

    The VAE that was loaded last takes the device for that, once, so a previewer is made before the transformer goes
    there.
    """

    def __init__(self, engine: "HostEngine"):
        self.engine = engine
        vae = engine.last_vae()
        self._map = None
        if vae is not None:
            known = engine.preview_maps
            self._map = known[vae] if vae in known else known.setdefault(vae, self._fit(vae))

    def __call__(self, latents: Any) -> Any:
        """Raw latents [B, 16, 1, h, w] → PIL image of the first, 8·h × 8·w, or None where no VAE was loaded."""
        import torch
        from PIL import Image

        if self._map is None:
            return None
        cells = latents[0, :, 0].float().cpu().movedim(0, -1)
        colours = torch.cat([cells, torch.ones_like(cells[..., :1])], dim=-1) @ self._map
        pixels = (colours.clamp(0, 1) * 255).to(torch.uint8).numpy()
        return Image.fromarray(pixels).resize((8 * pixels.shape[1], 8 * pixels.shape[0]), Image.Resampling.BILINEAR)

    def _fit(self, vae: "HostVae") -> Any:
        import torch

        generator = torch.Generator().manual_seed(0)
        grid = torch.linspace(0, 1, _SIDE)
        picture = torch.rand(1, 3, _SIDE // 8, _SIDE // 8, generator=generator)
        picture = torch.nn.functional.interpolate(picture, scale_factor=8, mode="bilinear")[0].movedim(0, -1)
        picture = 0.5 * picture + 0.25 * (grid[:, None, None] + grid[None, :, None])
        latents = self.engine.vae_encode(vae, picture[None])[0, :, 0].movedim(0, -1).reshape(-1, 16)
        means = torch.nn.functional.avg_pool2d(picture.movedim(-1, 0)[None], 8)[0].movedim(0, -1).reshape(-1, 3)
        design = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)
        return torch.linalg.lstsq(design, means).solution
