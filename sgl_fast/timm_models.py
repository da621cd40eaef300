"""Networks of genotypes as timm's models: `import sgl_fast.timm_models`, then `timm.create_model("pc_darts_image")`.

Needs timm (`pip install sgl-fast[timm]`). Every published genotype is a model, by its name in small letters with the
space in front (`timm.list_models(module="timm_models")`), and two more are for own ones:

sgl_network   genotype=...: a genotype, its text or file, a search's folder (its best), a published name
sgl_trained   run=...: the network that `python -m sgl_fast.evaluate` has trained, a folder or a weights.safetensors
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional

from .genotype.genotype import Genotype
from .genotype.published import genotypes, read_genotype
from .genotype.sources import source_of
from .nets.network import Network
from .run.weights import load_network
from .spaces._space import reductions_of

FORMS = {True: (48, 14, 1000, 224), False: (36, 20, 10, 32)}  # ImageNet's or not: channels, cells, classes, pixels
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
__all__: list[str] = ["TimmNetwork"]  # register_model adds the models


class TimmNetwork(Network):
    """A `Network` without auxiliary head that has what timm asks of a classifier, and gives features of three strides.

    imagenet            the form for 224 pixels; False: CIFAR's
    channels, layers    None: 48 and 14, of CIFAR's form 36 and 20
    num_classes         None: 1000, of CIFAR's form 10; 0: no classifier, forward gives pooled features
    drop_path_rate      constant, as timm has it; the published trainings raise it from 0 epoch by epoch (`drop_path`)
    drop_rate           dropout before the classifier

    >>> TimmNetwork(genotypes.PDARTS, channels=4, layers=3)(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 1000])
    """

    def __init__(
        self,
        genotype: Genotype,
        num_classes: int | None = None,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
        imagenet: bool = True,
        channels: int | None = None,
        layers: int | None = None,
    ) -> None:
        if in_chans != 3 or global_pool != "avg":
            raise ValueError(f"need in_chans 3 and global_pool avg; got {in_chans} and {global_pool}")
        published = FORMS[imagenet]
        self.num_classes = published[2] if num_classes is None else num_classes
        sizes = published[0] if channels is None else channels, published[1] if layers is None else layers
        super().__init__(genotype, *sizes, max(self.num_classes, 1), False, imagenet, drop_path_rate)
        self.drop_rate = drop_rate
        self.num_features: int = self.classifier.in_features  # type: ignore[assignment]  # of a Linear
        self.head_hidden_size = self.num_features
        if not self.num_classes:
            self.reset_classifier(0)
        layers, first = len(self.cells), 8 if imagenet else 1
        self.reductions = reductions_of(layers)
        self.ends = tuple(sorted({index - 1 for index in self.reductions if index} | {layers - 1}))
        self.feature_info = [
            {"num_chs": self.cells[end].c_out, "reduction": first * self.stride(end), "module": f"cells.{end}"}
            for end in self.ends
        ]

    def __setattr__(self, name: str, value: Any) -> None:
        """timm's name of the dropout is known, too."""
        if name == "drop_rate":
            nn.Module.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def stride(self, cell: int) -> int:
        """Of a cell's output, against the first cell's input."""
        return 1 << sum(index <= cell for index in self.reductions)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """The last cell's output (N, num_features, h, w)."""
        return self.features(images)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (N, num_classes) of `forward_features`; pre_logits, or no classifier: (N, num_features)."""
        pooled = functional.dropout(self.pooled(x), self.drop_rate, self.training)
        return pooled if pre_logits else self.classifier(pooled)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Outputs of the last cells before each reduction and of the last cell, as timm asks for them."""
        if output_fmt != "NCHW":
            raise ValueError(f"need output_fmt NCHW; got {output_fmt}")
        chosen = slice(-indices, None) if isinstance(indices, int) else slice(None)
        ends = [self.ends[index] for index in indices] if isinstance(indices, Sequence) else self.ends[chosen]
        last, kept = self.features(x, ends)
        return kept if intermediates_only else (last, kept)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new, untrained one of so many classes, on the old one's device; 0: none."""
        like = next(self.cells.parameters())
        head: nn.Module = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        self.classifier = head.to(like.device, like.dtype)
        self.num_classes = num_classes

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """For rates that fall from layer to layer: the stem, then cell by cell."""
        return {"stem": r"^stem\d?", "blocks": r"^cells\.(\d+)"}


def sgl_network(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The network of genotype=...: a Genotype, or all that `read_genotype` reads, or a search's folder."""
    found = kwargs.pop("genotype", None)
    if found is None:
        raise ValueError("sgl_network needs genotype=...: a Genotype, its text or file, a run's folder, or a name")
    if not isinstance(found, Genotype):
        best = os.path.join(found, "best.json")
        found = read_genotype(best if os.path.isfile(best) else os.fspath(found))
    return build("sgl_network", pretrained, genotype=found, **kwargs)


def sgl_trained(pretrained: bool = True, **kwargs: Any) -> nn.Module:
    """The trained network of run=..., in evaluation mode; num_classes, if another, gives it a new classifier."""
    if kwargs.get("run") is None:
        raise ValueError("sgl_trained needs run=...: the folder of an evaluation, or a weights.safetensors")
    trained, classes = load_network(kwargs.pop("run")), kwargs.pop("num_classes", None)
    about = trained.about
    sizes = {name: about[name] for name in ("imagenet", "channels", "layers", "num_classes")}
    shape = {name: tuple(about[name]) for name in ("mean", "std")} | {"input_size": (3, *about["image_size"])}
    other = {"num_classes": sizes["num_classes"], "crop_pct": 1.0}
    kwargs["pretrained_cfg_overlay"] = configuration(about["imagenet"]) | shape | other
    model = build("sgl_trained", False, genotype=Genotype(**about["genotype"]), **sizes, **kwargs)
    inner: Any = getattr(model, "model", model)  # features_only wraps it
    inner.load_state_dict({n: w for n, w in trained.state_dict().items() if not n.startswith("auxiliary.")})
    if classes not in (None, sizes["num_classes"]):
        inner.reset_classifier(classes)
    return model.eval()


def build(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    """As timm builds a model of these options; one that is not of ImageNet's form says so in its configuration."""
    features = {"feature_cls": "getter", "out_indices": (0, 1, 2)}
    if not kwargs.get("imagenet", True) and not kwargs.get("pretrained_cfg_overlay"):
        kwargs["pretrained_cfg_overlay"] = configuration(False)
    found: nn.Module = build_model_with_cfg(TimmNetwork, variant, pretrained, feature_cfg=features, **kwargs)
    return found


def configuration(imagenet: bool) -> dict[str, Any]:
    """What timm keeps of a model beside its weights."""
    *_, classes, pixels = FORMS[imagenet]
    names = {"classifier": "classifier", "first_conv": "stem0.0" if imagenet else "stem.0"}
    size = {"input_size": (3, pixels, pixels), "pool_size": (7, 7) if imagenet else (8, 8), "num_classes": classes}
    return {**names, **size, **IMAGENET, "crop_pct": 0.875 if imagenet else 1.0, "interpolation": "bilinear"}


def model_name(full_name: str) -> str:
    """Of a published genotype: small letters, the space in front unless the name begins with it.

    >>> model_name("darts.DARTS_V2"), model_name("drnas.DrNAS_imagenet"), model_name("darts.NASNet")
    ('darts_v2', 'drnas_imagenet', 'darts_nasnet')
    """
    space, _, name = full_name.lower().partition(".")
    return name if name.startswith(space) else f"{space}_{name}"


def entrypoint(full_name: str) -> Callable[..., nn.Module]:
    """The function that timm registers for a published genotype."""
    name, channels = model_name(full_name), source_of(full_name).imagenet_channels

    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        if kwargs.get("imagenet", True):
            kwargs.setdefault("channels", channels)
        return build(name, pretrained, genotype=genotypes[full_name], **kwargs)

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"{full_name} in ImageNet's form, {channels} channels; imagenet=False: CIFAR's."
    return create


_ENTRYPOINTS = [*map(entrypoint, genotypes), sgl_network, sgl_trained]
default_cfgs = generate_default_cfgs({create.__name__: configuration(True) for create in _ENTRYPOINTS})
for _create in _ENTRYPOINTS:
    register_model(_create)
