"""Corrupted real images."""

from __future__ import annotations

import torch

from trainables.metrics.corruptions import blurred, halves_joined, phases_randomised


def images(count: int = 64) -> torch.Tensor:
    """Return smooth random images, uint8 (count, 3, 16, 16)."""
    noise = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return (torch.nn.functional.interpolate(noise, 16, mode="bicubic") * 20 + 128).clamp(0, 255).byte()


def test_random_phases_keep_the_spectrum_and_destroy_the_picture() -> None:
    real = images()
    drawn = phases_randomised(real)

    def amplitudes(x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft2(x.float()).abs()

    assert torch.allclose(amplitudes(drawn), amplitudes(real), atol=40)  # rounding to 8 bits
    correlation = torch.stack(
        [
            torch.corrcoef(torch.stack([a.flatten().float(), b.flatten().float()]))[0, 1]
            for a, b in zip(real, drawn, strict=True)
        ]
    )
    assert correlation.abs().mean() < 0.4
    assert torch.equal(drawn, phases_randomised(real))


def test_the_right_half_comes_from_the_next_image() -> None:
    real = images(3)
    joined = halves_joined(real)
    assert torch.equal(joined[0, :, :, :8], real[0, :, :, :8])
    assert torch.equal(joined[0, :, :, 8:], real[1, :, :, 8:])
    assert torch.equal(joined[2, :, :, 8:], real[0, :, :, 8:])


def test_a_blur_is_the_mean_of_nine_pixels() -> None:
    real = images(1)
    inner = real[0, 0, 4:7, 4:7].float().mean().round()
    assert blurred(real)[0, 0, 5, 5] == inner
