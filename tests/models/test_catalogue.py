"""One contract for every network of the catalogue; the long run over all architectures is marked slow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from segwright.checkpoint import Checkpoint, load
from segwright.classes import Classes
from segwright.errors import ModelError, RecipeError
from segwright.models import catalogue
from segwright.models.catalogue import BUILDERS, LUMA, MEAN, SETTINGS, STD, Network, build, canonical, normalised
from segwright.models.weights import read_weights
from segwright.recipe import ModelRecipe, Recipe

FAST = ("lraspp_mobilenet_v3_large", "lraspp_mobilenet_v3_small", "UnetClassic", "UnetAttention", "Unet")
ENCODERS = {"DPT": "tu-vit_tiny_patch16_224"}
"""DPT takes encoders of timm only; all others get the smallest residual network."""

models = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BUILDERS]
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def recipe(name: str, channels_in: int = 3, weights: str = "none") -> ModelRecipe:
    made = ModelRecipe(model=name, channels_in=1 if channels_in == 1 else 3, weights=weights)
    owned = SETTINGS[BUILDERS[name]]
    if "encoder" in owned:
        return replace(made, encoder=ENCODERS.get(name, "resnet18"))
    return replace(made, base_channels=8) if "base_channels" in owned else made


@models
@pytest.mark.parametrize("channels_in", [1, 3])
def test_answers_have_the_size_of_the_picture(name: str, channels_in: int) -> None:
    network = build(recipe(name, channels_in), 4).eval()
    assert isinstance(network, Network)
    with torch.no_grad():
        for size_hw in ((128, 160), (97, 131), (33, 40)):
            logits = network(torch.rand(1, 3, *size_hw))
            assert logits.shape == (1, 4, *size_hw)
            assert logits.isfinite().all()


@models
def test_grey_networks_see_only_brightness(name: str) -> None:
    network = build(recipe(name, 1), 1).eval()
    picture = torch.rand(1, 3, 128, 128)
    grey = (picture * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    with torch.no_grad():
        assert torch.allclose(network(picture), network(grey), atol=1e-4)


@models
def test_saved_networks_answer_as_before(name: str, tmp_path: Path) -> None:
    classes = Classes(names=("a", "b", "c"))
    network = build(recipe(name), classes.channels).eval()
    saved = Checkpoint(recipe=Recipe(model=recipe(name)), classes=classes, weights=network.state_dict())
    saved.save(tmp_path / "best.safetensors")
    again = load(tmp_path).network()
    images = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(network(images), again(images))


@models
def test_one_training_step_moves_every_weight_that_has_a_gradient(name: str) -> None:
    network = build(recipe(name), 1).train()
    before = {k: p.detach().clone() for k, p in network.named_parameters()}
    images = torch.rand(2, 3, 128, 128)
    loss = F.binary_cross_entropy_with_logits(network(images), (images.mean(dim=1, keepdim=True) > 0.5).float())
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    learning = {k: p for k, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learning.values())
    # PSPNet leaves the deeper half of its encoder unused.
    assert len(learning) > 0.3 * len(before)
    torch.optim.AdamW(network.parameters(), lr=1e-3).step()
    assert not [k for k, p in learning.items() if torch.equal(p, before[k])]


@models
def test_sees_normalised_pictures(name: str) -> None:
    network = build(recipe(name), 1).eval()
    seen: list[torch.Tensor] = []
    network.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    picture = torch.rand(1, 3, 100, 128)
    with torch.no_grad():
        network(picture)
    normalised = (picture - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    below = -100 % network.multiple
    below = max(below, network.least_side - 100)
    assert seen[0].shape == (1, 3, 100 + below, 128)
    assert torch.allclose(seen[0][..., :100, :], normalised, atol=1e-6)
    assert torch.equal(seen[0][..., 100:, :], seen[0][..., 99:100, :].expand(-1, -1, below, -1)), (
        "the border is repeated"
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Encoder does not have prefix tokens")
def test_dpt_takes_convolutional_encoders_too() -> None:
    network = build(ModelRecipe(model="DPT", encoder="tu-resnet18"), 2).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 97, 131)).shape == (1, 2, 97, 131)


def test_normalisation_is_no_weight() -> None:
    assert not any(name in {"mean", "std", "luma"} for name in build(recipe(FAST[1]), 1).state_dict())


@pytest.mark.parametrize("written", ["LRASPP_MobileNet_V3_LARGE", "lraspp_mobilenet_v3_large"])
def test_spelling_in_capitals_builds_the_same_network(written: str) -> None:
    network = build(ModelRecipe(model=written), 2)
    assert network.state_dict().keys() == build(recipe("lraspp_mobilenet_v3_large"), 2).state_dict().keys()
    assert canonical("UNET") == "Unet"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (ModelRecipe(model="lraspp_mobilenet_v3_larg"), "did you mean lraspp_mobilenet_v3_large"),
        (ModelRecipe(model="1234567"), "choose from"),
        (ModelRecipe(model="Unet", encoder="resnet19"), "resnet19"),
        (ModelRecipe(model="DPT", encoder="resnet18"), "cannot be built"),
    ],
)
def test_impossible_networks_are_said(bad: ModelRecipe, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build(bad, 2)


def test_failed_download_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(catalogue, "BUILDERS", {"Unet": offline})
    with pytest.raises(ModelError, match="could not be downloaded"):
        build(recipe("Unet", weights="imagenet"), 2)


def test_grey_lraspp_refuses_colour_weights() -> None:
    with pytest.raises(RecipeError, match="channels-in 3"):
        build(recipe(FAST[0], 1, "imagenet"), 2)


@pytest.mark.parametrize("wrapped", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_own_weights_are_copied_from_a_file(wrapped: str, prefix: str, tmp_path: Path) -> None:
    source = build(recipe(FAST[1]), 2)
    state = {prefix + k: v for k, v in source.state_dict().items()}
    torch.save({wrapped: state} if wrapped else state, tmp_path / "w.pt")
    copied = build(recipe(FAST[1], weights=str(tmp_path / "w.pt")), 2)
    assert all(torch.equal(v, copied.state_dict()[k]) for k, v in source.state_dict().items())


def test_other_classes_keep_all_but_the_classifiers(tmp_path: Path) -> None:
    source = build(recipe(FAST[1]), 2).state_dict()
    torch.save(source, tmp_path / "w.pt")
    copied = build(recipe(FAST[1], weights=str(tmp_path / "w.pt")), 7).state_dict()
    differing = {k for k in source if source[k].shape != copied[k].shape or not torch.equal(source[k], copied[k])}
    assert {k.split(".")[1] for k in differing} == {"low_classifier", "high_classifier"}


def test_a_classifiers_features_serve_as_backbone(tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_small

    classifier = mobilenet_v3_small(weights=None).state_dict()
    torch.save(classifier, tmp_path / "w.pth")
    copied = build(recipe(FAST[1], weights=str(tmp_path / "w.pth")), 2).state_dict()
    for name, tensor in classifier.items():
        if name.startswith("features."):
            assert torch.equal(copied["body.backbone." + name.removeprefix("features.")], tensor)


def test_checkpoints_of_ours_serve_as_weights(tmp_path: Path) -> None:
    source = build(recipe(FAST[1]), 1)
    saved = Checkpoint(
        recipe=Recipe(model=recipe(FAST[1])), classes=Classes(names=("a", "b")), weights=source.state_dict()
    )
    path = saved.save(tmp_path / "best.safetensors")
    copied = build(recipe(FAST[1], weights=str(path)), 1).state_dict()
    assert all(torch.equal(v, copied[k]) for k, v in source.state_dict().items())


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("pickles can run code",)


def test_files_that_are_no_weights_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        read_weights(tmp_path / "none.pt")
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(ModelError, match="cannot be read as weights"):
            read_weights(tmp_path / name)
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match="pickled objects are refused"):
        read_weights(tmp_path / "evil.pt")
    assert capsys.readouterr().out == ""
    torch.save({"a": 3}, tmp_path / "number.pt")
    with pytest.raises(ModelError, match="no state dict"):
        read_weights(tmp_path / "number.pt")
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="does not fit"):
        build(recipe(FAST[1], weights=str(tmp_path / "other.pt")), 2)


@pytest.mark.parametrize("shape", [(2, 3, 32, 48), (1, 3, 1, 1), (3, 3, 33, 7), (2, 1, 8, 8)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_normalising_rows_at_once_changes_no_bit(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    before = images.clone()
    mean, std = torch.tensor(MEAN[: shape[1]]).view(1, -1, 1, 1), torch.tensor(STD[: shape[1]]).view(1, -1, 1, 1)
    answer = normalised(images, mean, std)
    assert torch.equal(answer, (images - mean) / std)
    assert torch.equal(images, before)
    assert answer.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("shape", [(2, 3, 32, 48), (1, 3, 1, 1), (3, 3, 33, 7), (2, 1, 8, 8)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_bytes_are_normalised_like_their_255th(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(memory_format=layout)
    before = pixels.clone()
    mean, std = torch.tensor(MEAN[: shape[1]]).view(1, -1, 1, 1), torch.tensor(STD[: shape[1]]).view(1, -1, 1, 1)
    answer = normalised(pixels, mean, std)
    torch.testing.assert_close(answer, (pixels / 255 - mean) / std, rtol=0, atol=1e-6)
    assert torch.equal(pixels, before)
    assert answer.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("channels_in", [1, 3])
def test_a_network_takes_bytes(channels_in: int) -> None:
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = Network(torch.nn.Conv2d(channels_in, 2, 3, padding=1), channels_in)
    with torch.no_grad():
        torch.testing.assert_close(network(pixels), network(pixels.float() / 255), rtol=0, atol=1e-5)
