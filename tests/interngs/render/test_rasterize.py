# SPDX-License-Identifier: GPL-3.0-or-later
"""Images, gradients and bookkeeping of the CPU renderer against the plain reference."""

from __future__ import annotations

import math

import pytest
import torch

from interngs.render import reference
from interngs.render.cpu.library import set_threads, threads
from interngs.render.rasterize import rasterize

NAMES = ("means", "quats", "scales", "opacities", "colors", "viewmats")


def relative_error(value, expected):
    return ((value.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize(("sh_degree", "render_mode"), [
    (None, "RGB"), (0, "RGB+ED"), (1, "RGB"), (2, "RGB+D"), (3, "RGB"), (3, "RGB+ED")])
def test_matches_the_reference(make_scene, rasterize_mode, with_background, sh_degree, render_mode):
    scene = make_scene()
    fast, slow = scene.inputs(torch.float32, sh_degree), scene.inputs(torch.float64, sh_degree)
    options = {"sh_degree": sh_degree, "render_mode": render_mode, "rasterize_mode": rasterize_mode}
    generator = torch.Generator().manual_seed(1)
    backgrounds = torch.rand(2, 3, generator=generator) if with_background else None

    render, alpha, _ = rasterize(*fast, scene.Ks, scene.width, scene.height, backgrounds=backgrounds,
                                 absgrad=with_background, **options)
    expected, expected_alpha, _ = reference.rasterize(
        *slow, scene.Ks.double(), scene.width, scene.height,
        backgrounds=None if backgrounds is None else backgrounds.double(), tile_px=16, **options)
    assert render.shape == (2, scene.height, scene.width, 4 if "D" in render_mode else 3)
    assert alpha.shape == (2, scene.height, scene.width, 1)
    assert expected_alpha.max() > 0.999  # pixels that stop early are among them
    assert (render - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (alpha - expected_alpha).abs().max() <= 1e-5

    v_render = torch.randn(render.shape, generator=generator)
    # Expected depth is 0/0 at the rim of the scene, where no precision agrees with another.
    v_render[..., 3:] *= (expected_alpha > 0.01)
    v_alpha = torch.randn(alpha.shape, generator=generator)
    ((render * v_render).sum() + (alpha * v_alpha).sum()).backward()
    ((expected * v_render).sum() + (expected_alpha * v_alpha).sum()).backward()
    for name, mine, theirs in zip(NAMES, fast, slow, strict=True):
        assert relative_error(mine.grad, theirs.grad) <= 1e-4, name


def test_gradients_match_finite_differences(make_scene):
    scene = make_scene(count=5, cameras=1, width=14, height=11)
    options = {"sh_degree": 3, "render_mode": "RGB+D", "rasterize_mode": "antialiased"}
    fast = scene.inputs(torch.float32)
    render, alpha, _ = rasterize(*fast, scene.Ks, 14, 11, **options)
    generator = torch.Generator().manual_seed(2)
    v_render, v_alpha = torch.randn(render.shape, generator=generator), torch.randn(alpha.shape, generator=generator)
    ((render * v_render).sum() + (alpha * v_alpha).sum()).backward()

    exact = [tensor.detach().double() for tensor in fast]

    def loss():
        with torch.no_grad():
            image, opaque, _ = reference.rasterize(*exact, scene.Ks.double(), 14, 11, **options)
        return ((image * v_render).sum() + (opaque * v_alpha).sum()).item()

    step = 1e-6
    for name, tensor, parameter in zip(NAMES, exact, fast, strict=True):
        flat = tensor.view(-1)
        chosen = torch.randperm(len(flat), generator=generator)[:24]
        numeric = torch.zeros_like(flat)
        for index in chosen.tolist():
            value = flat[index].item()
            flat[index] = value + step
            above = loss()
            flat[index] = value - step
            numeric[index] = (above - loss()) / (2 * step)
            flat[index] = value
        assert numeric.norm() > 0, name
        assert relative_error(parameter.grad.view(-1)[chosen], numeric[chosen]) <= 1e-4, name


def test_absgrad_is_the_sum_of_absolute_pixel_gradients(make_scene):
    scene = make_scene(count=60, cameras=1, width=20, height=14)
    inputs = scene.inputs(torch.float32)
    render, _, meta = rasterize(*inputs, scene.Ks, 20, 14, sh_degree=3, absgrad=True)
    meta["means2d"].retain_grad()
    v_render = torch.randn(render.shape, generator=torch.Generator().manual_seed(3))
    (render * v_render).sum().backward()

    exact = [tensor.detach().double() for tensor in inputs]
    splats = reference.project(*exact[:5], exact[5][0], scene.Ks[0].double(), 20, 14, sh_degree=3)
    splats.means2d.requires_grad_()
    image, _ = reference.rasterize_view(splats, 20, 14)
    pixels = (image * v_render[0]).sum(-1).view(-1)
    gradients = torch.stack([torch.autograd.grad(pixel, splats.means2d, retain_graph=True)[0] for pixel in pixels])
    absgrad = meta["means2d"].absgrad[0, splats.ids]
    assert relative_error(absgrad, gradients.abs().sum(0)) <= 1e-5
    assert relative_error(meta["means2d"].grad[0, splats.ids], gradients.sum(0)) <= 1e-5
    assert (meta["means2d"].absgrad >= meta["means2d"].grad.abs() * (1 - 1e-5)).all()


def test_any_number_of_threads_gives_the_same_bits(make_scene):
    # Several projection chunks, several tiles, several bands of the loss.
    scene = make_scene(count=300, cameras=1, width=200, height=90, decided=False)
    many = 9
    results = []
    before = threads()
    try:
        for count in (1, 2, 5):
            set_threads(count)
            assert threads() == count
            inputs = [tensor.detach().repeat(many, *[1] * (tensor.dim() - 1)).requires_grad_()
                      for tensor in scene.inputs(torch.float32)[:5]]
            viewmats = scene.viewmats.clone().requires_grad_()
            render, alpha, meta = rasterize(*inputs, viewmats, scene.Ks, 200, 90, sh_degree=3, absgrad=True,
                                            render_mode="RGB+ED")
            (render.sin().sum() + alpha.sum()).backward()
            results.append([render, alpha, meta["means2d"].absgrad, viewmats.grad, *(t.grad for t in inputs)])
    finally:
        set_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_packed_holds_the_visible_gaussians_and_changes_nothing_else(make_scene):
    scene = make_scene()
    plain, packed = scene.inputs(torch.float32), scene.inputs(torch.float32)
    outputs = []
    for inputs, is_packed in ((plain, False), (packed, True)):
        render, alpha, meta = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=2, packed=is_packed,
                                        absgrad=True)
        meta["means2d"].retain_grad()
        (render.sin().sum() + alpha.sum()).backward()
        outputs.append((render, alpha, meta))
    (render, alpha, meta), (packed_render, packed_alpha, packed_meta) = outputs
    assert torch.equal(render, packed_render) and torch.equal(alpha, packed_alpha)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain, packed, strict=True))
    cameras, ids = torch.where((meta["radii"] > 0).all(-1))
    assert torch.equal(packed_meta["camera_ids"], cameras) and torch.equal(packed_meta["gaussian_ids"], ids)
    assert 0 < len(ids) < 2 * len(scene.means)
    for name in ("radii", "means2d", "depths", "conics", "opacities"):
        assert torch.equal(packed_meta[name], meta[name][cameras, ids]), name
    assert torch.equal(packed_meta["means2d"].grad, meta["means2d"].grad[cameras, ids])
    assert torch.equal(packed_meta["means2d"].absgrad, meta["means2d"].absgrad[cameras, ids])


def test_meta_describes_the_projection(make_scene):
    scene = make_scene()
    _, _, meta = rasterize(*scene.inputs(torch.float32), scene.Ks, scene.width, scene.height, sh_degree=3)
    assert (meta["width"], meta["height"], meta["n_cameras"]) == (scene.width, scene.height, 2)
    assert meta["gaussian_ids"] is None
    assert meta["radii"].dtype == torch.int32
    exact = [tensor.detach().double() for tensor in scene.inputs(torch.float32)]
    for camera in range(2):
        splats = reference.project(*exact[:5], exact[5][camera], scene.Ks[camera].double(), scene.width, scene.height,
                                   sh_degree=3)
        visible = torch.where((meta["radii"][camera] > 0).any(-1))[0]
        assert sorted(splats.ids.tolist()) == visible.tolist()
        assert (meta["radii"][camera, splats.ids] - splats.radii).abs().max() <= 1
        for name in ("means2d", "depths", "conics", "opacities"):
            torch.testing.assert_close(meta[name][camera, splats.ids].double(), getattr(splats, name), rtol=1e-4,
                                       atol=1e-5)


@pytest.mark.parametrize(("render_mode", "channels"), [("D", slice(3, 4)), ("ED", slice(3, 4)), ("RGB", slice(0, 3))])
def test_render_modes_are_channels_of_the_full_render(make_scene, render_mode, channels):
    scene = make_scene()
    inputs = scene.inputs(torch.float32)
    full_mode = "RGB+D" if render_mode == "D" else "RGB+ED"
    full, _, _ = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=1, render_mode=full_mode)
    part, _, _ = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=1, render_mode=render_mode)
    torch.testing.assert_close(part, full[..., channels], rtol=0, atol=1e-6)


def test_several_cameras_equal_one_by_one(make_scene):
    scene = make_scene()
    together, apart = scene.inputs(torch.float32), scene.inputs(torch.float32)
    render, alpha, _ = rasterize(*together, scene.Ks, scene.width, scene.height, sh_degree=3)
    (render.sin().sum() + alpha.sum()).backward()
    for camera in range(2):
        one, one_alpha, _ = rasterize(*apart[:5], apart[5][camera:camera + 1], scene.Ks[camera:camera + 1],
                                      scene.width, scene.height, sh_degree=3)
        assert torch.equal(one[0], render[camera]) and torch.equal(one_alpha[0], alpha[camera])
        (one.sin().sum() + one_alpha.sum()).backward()
    for mine, theirs in zip(together, apart, strict=True):
        assert relative_error(mine.grad, theirs.grad.double()) <= 1e-5


def test_two_forwards_before_a_backward(make_scene):
    scene = make_scene()
    expected = scene.inputs(torch.float32)
    first, _, _ = rasterize(*expected, scene.Ks, scene.width, scene.height, sh_degree=3)
    (first ** 2).sum().backward()

    inputs, other = scene.inputs(torch.float32), make_scene(count=50, seed=1).inputs(torch.float32)
    first, _, _ = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=3)
    second, _, _ = rasterize(*other, scene.Ks, scene.width, scene.height, sh_degree=3)
    (second ** 2).sum().backward()
    (first ** 2).sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(inputs, expected, strict=True))


def test_backward_twice_through_one_graph(make_scene):
    scene = make_scene()
    inputs = scene.inputs(torch.float32)
    render, _, _ = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=3)
    one = torch.autograd.grad(render.sum(), inputs, retain_graph=True)
    two = torch.autograd.grad(render.sum(), inputs)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def camera(width=40, height=30, focal_px=40.0):
    K = torch.tensor([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    return torch.eye(4)[None], K[None], width, height


def one_gaussian(scale, opacity, z=2.0, colour=(0.2, 0.5, 0.9)):
    return [torch.tensor([[0.0, 0.0, z]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), scale),
            torch.tensor([opacity]), torch.tensor([colour])]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [0, 3])
def test_nothing_visible_shows_the_background(count, packed):
    inputs = [torch.zeros(count, 3) - 5, torch.randn(count, 4), torch.full((count, 3), 0.1), torch.full((count,), 0.5),
              torch.rand(count, 16, 3)]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    background = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    render, alpha, meta = rasterize(*inputs, *camera(), sh_degree=3, backgrounds=background, packed=packed)
    assert torch.equal(render, background.detach().expand(1, 30, 40, 3))
    assert not alpha.any() and not meta["radii"].any()
    render.sum().backward()
    assert all(tensor.grad is not None and not tensor.grad.any() for tensor in inputs)
    torch.testing.assert_close(background.grad, torch.full((1, 3), 1200.0))


def test_one_pixel_image_has_the_closed_form():
    opacity, scale, z, focal_px = 0.6, 0.5, 2.0, 8.0
    inputs = one_gaussian(scale, opacity, z)
    viewmats, Ks, _, _ = camera(1, 1, focal_px)
    render, alpha, _ = rasterize(*inputs, viewmats, Ks, 1, 1, render_mode="RGB+ED")
    assert alpha.item() == pytest.approx(opacity, abs=1e-6)  # the pixel's centre is the projected mean
    assert render[0, 0, 0, :3].tolist() == pytest.approx([opacity * c for c in (0.2, 0.5, 0.9)], abs=1e-6)
    assert render[0, 0, 0, 3].item() == pytest.approx(z, rel=1e-6)


def test_a_gaussian_fades_as_its_projected_variance_says():
    opacity, scale, z, focal_px = 0.9, 0.2, 2.0, 40.0
    _, alpha, meta = rasterize(*one_gaussian(scale, opacity, z), *camera(focal_px=focal_px))
    variance = (scale * focal_px / z) ** 2 + 0.3
    distance_px = torch.arange(20) + 0.5
    expected = opacity * torch.exp(-(distance_px**2 + 0.5**2) / (2 * variance))
    expected = torch.where(expected < 1 / 255, torch.zeros(20), expected)
    torch.testing.assert_close(alpha[0, 15, 20:, 0], expected, rtol=1e-5, atol=1e-6)
    assert expected[-1] == 0 and expected[0] > 0
    radius = math.ceil(math.sqrt(2 * math.log(255 * opacity)) * math.sqrt(variance))
    assert meta["radii"].tolist() == [[[radius, radius]]]


def test_opacity_one_is_clamped_and_passes_colour_gradients_only():
    inputs = [tensor.requires_grad_() for tensor in one_gaussian(2000.0, 1.0)]
    render, alpha, _ = rasterize(*inputs, *camera())
    torch.testing.assert_close(alpha, torch.full_like(alpha, 0.999))
    render.sum().backward()
    torch.testing.assert_close(inputs[4].grad, torch.full((1, 3), 0.999 * 1200))
    assert not any(inputs[index].grad.any() for index in range(4))


def test_opaque_layers_stop_before_the_transmittance_limit():
    # Three layers of 0.999 leave 1e-3 after the first; the second would bring it to 1e-6, so the pixel stops before.
    layers = [torch.cat(parts) for parts in zip(*(one_gaussian(2000.0, 1.0, z, colour) for z, colour in (
        (3.0, (0.0, 0, 1)), (1.0, (1.0, 0, 0)), (2.0, (0.0, 1, 0)))), strict=True)]
    layers = [tensor.requires_grad_() for tensor in layers]
    background = torch.ones(1, 3)
    render, alpha, _ = rasterize(*layers, *camera(), backgrounds=background)
    torch.testing.assert_close(alpha, torch.full_like(alpha, 0.999))
    torch.testing.assert_close(render[0, 5, 5], torch.tensor([1.0, 0.001, 0.001]), rtol=1e-4, atol=1e-6)
    render.sum().backward()
    assert layers[4].grad[[0, 2]].abs().sum() == 0 and (layers[4].grad[1] > 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", range(5))
def test_broken_parameters_are_culled(make_scene, bad, which):
    scene = make_scene(cameras=1)
    healthy = scene.inputs(torch.float32)
    clean, _, _ = rasterize(*[t[1:] for t in healthy[:5]], healthy[5], scene.Ks, scene.width, scene.height, sh_degree=3)
    inputs = [tensor.detach().clone() for tensor in healthy]
    inputs[which].view(len(scene.means), -1)[0, -1] = bad
    inputs = [tensor.requires_grad_() for tensor in inputs]
    render, _, meta = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=3)
    assert torch.equal(render, clean)
    assert not meta["radii"][0, 0].any()
    render.sum().backward()
    for tensor in inputs[:5]:
        assert torch.isfinite(tensor.grad).all() and not tensor.grad[0].any()


def test_broken_plain_colours_are_not_drawn(make_scene):
    scene = make_scene(cameras=1)
    colours = scene.colours.clone()
    colours[0, 1] = math.nan
    render, _, _ = rasterize(*scene.inputs(torch.float32)[:4], colours, scene.viewmats, scene.Ks, scene.width,
                             scene.height)
    assert torch.isfinite(render).all()


def test_extreme_gaussians_stay_finite():
    g = torch.Generator().manual_seed(5)
    count = 400
    inputs = [torch.randn(count, 3, generator=g) * 3 + torch.tensor([0.0, 0, 2]), torch.randn(count, 4, generator=g),
              10 ** (8 * torch.rand(count, 3, generator=g) - 5), torch.rand(count, generator=g),
              torch.rand(count, 3, generator=g)]
    inputs = [tensor.requires_grad_() for tensor in inputs]
    render, alpha, _ = rasterize(*inputs, *camera(130, 70), render_mode="RGB+ED")
    assert torch.isfinite(render).all() and ((alpha >= 0) & (alpha <= 1)).all()
    render.sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in inputs)


def test_planes_cull():
    inputs = one_gaussian(0.1, 0.9, z=2.0)
    for near, far, seen in ((0.01, 1e10, True), (2.5, 1e10, False), (0.01, 1.5, False)):
        _, alpha, _ = rasterize(*inputs, *camera(), near_plane=near, far_plane=far)
        assert bool(alpha.any()) is seen


def test_accepts_strided_inputs_and_gradients(make_scene):
    scene = make_scene()
    inputs = scene.inputs(torch.float32)
    render, _, _ = rasterize(*inputs, scene.Ks, scene.width, scene.height, sh_degree=3)
    strided = [tensor.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for tensor in inputs]
    again, _, _ = rasterize(*strided, scene.Ks, scene.width, scene.height, sh_degree=3)
    assert torch.equal(render, again)
    render.permute(0, 3, 1, 2).sin().sum().backward()
    again.sin().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(inputs, strided, strict=True))


@pytest.mark.parametrize(("index", "shape", "name"), [
    (0, (7, 2), "means"), (1, (7, 3), "quats"), (2, (6, 3), "scales"), (3, (7, 1), "opacities"),
    (4, (7, 8, 3), "colors"), (5, (1, 3, 4), "viewmats"), (6, (2, 3, 3), "Ks")])
def test_wrong_shapes_are_named(index, shape, name):
    inputs = [torch.zeros(7, 3), torch.ones(7, 4), torch.ones(7, 3), torch.ones(7), torch.zeros(7, 16, 3),
              torch.eye(4)[None], torch.eye(3)[None]]
    inputs[index] = torch.zeros(shape)
    with pytest.raises(ValueError, match=name) as caught:
        rasterize(*inputs, 8, 8, sh_degree=2)
    assert str(list(shape)) in str(caught.value)


def test_wrong_arguments_are_named():
    inputs = one_gaussian(0.1, 0.5)
    with pytest.raises(ValueError, match="float64"):
        rasterize(inputs[0].double(), *inputs[1:], *camera())
    with pytest.raises(ValueError, match="render_mode"):
        rasterize(*inputs, *camera(), render_mode="rgb")
    with pytest.raises(ValueError, match="rasterize_mode"):
        rasterize(*inputs, *camera(), rasterize_mode="fast")
    with pytest.raises(ValueError, match="sh_degree"):
        rasterize(*inputs, *camera(), sh_degree=4)
    with pytest.raises(ValueError, match="0 x 30"):
        rasterize(*inputs, *camera()[:2], 0, 30)


def test_large_images_match_the_reference_too(make_scene):
    """Images of many tiles are cut into taller ones."""
    scene = make_scene(count=40, cameras=1, width=2050, height=66, seed=2, decided=False)
    fast, slow = scene.inputs(torch.float32), scene.inputs(torch.float64)
    render, _, _ = rasterize(*fast, scene.Ks, 2050, 66, sh_degree=3)
    expected, _, _ = reference.rasterize(*slow, scene.Ks.double(), 2050, 66, sh_degree=3, tile_px=66)
    # Few pixels lie on a threshold; they may differ by one faint contribution.
    assert ((render - expected).abs() > 1e-4).double().mean() < 1e-4
    (render ** 2).sum().backward()
    (expected ** 2).sum().backward()
    for name, mine, theirs in zip(NAMES, fast, slow, strict=True):
        assert relative_error(mine.grad, theirs.grad) <= 1e-3, name
