"""The container of 3D Gaussians, and the operations that keep its fields in step.

World space and quaternion order are those of :mod:`image3d_nb.cameras`. Shapes: N Gaussians, K SH coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .errors import InputError

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi)): colour = 0.5 + SH_C0 * sh[:, 0]."""


SHORTEST = 1e-12
"""Shorter quaternions are no rotation: torch's normalize divides them by this number, and they stay short."""
TENSORS = ("means", "quats", "scales", "opacities", "sh")
"""The fields of :class:`Gaussians` that hold a row a Gaussian."""


@dataclass(frozen=True, repr=False)
class Gaussians:
    """N anisotropic, coloured, semi-transparent 3D Gaussians.

    Attributes:
        means: [N, 3], world space, world units.
        quats: [N, 4], (w, x, y, z), kept as given; covariances and rendering normalise them.
        scales: [N, 3], standard deviations along the local axes, **linear** world units, not log.
        opacities: [N], in [0, 1], not logits.
        sh: [N, K, 3], spherical-harmonic colours, K = 1, 4, 9 or 16; colour = 0.5 + SH_C0 * sh[:, 0] + ...
        removed: reason -> how many :meth:`prune`, :meth:`crop`, :meth:`crop_sphere` and ``clean`` took out on the way.

    Source:
        Kerbl et al. 2023, 3D Gaussian Splatting, section 4.

    Example:
        >>> import torch
        >>> Gaussians.from_lgm(torch.rand(1, 8, 14))
        Gaussians(n=8, sh_degree=0, device=cpu)
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor
    removed: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        n = self.means.shape[0] if self.means.ndim else -1
        wanted = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)}
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                letters = "[N, " + ", ".join(map(str, shape[1:])) + "]" if len(shape) > 1 else "[N]"
                raise InputError(f"{name} must be {letters} with N = {n}; got {tuple(getattr(self, name).shape)}")
        if self.sh.ndim != 3 or self.sh.shape[0] != n or self.sh.shape[1] not in (1, 4, 9, 16) or self.sh.shape[2] != 3:
            raise InputError(f"sh must be [N, K, 3] with N = {n} and K in 1, 4, 9, 16; got {tuple(self.sh.shape)}")

    def __len__(self) -> int:
        return self.means.shape[0]

    def __repr__(self) -> str:
        told = ", ".join(f"{count:,} {reason}" for reason, count in self.removed.items() if count) or "nothing"
        removed = f", removed: {told}" if self.removed else ""
        return f"Gaussians(n={len(self)}, sh_degree={self.sh_degree}, device={self.device}{removed})"

    def __getitem__(self, index: Tensor | slice) -> Gaussians:
        """The Gaussians at a boolean mask [N], an index tensor or a slice."""
        return self._each(lambda values: values[index])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.means.device

    @property
    def dtype(self) -> torch.dtype:
        """The float type of the tensors."""
        return self.means.dtype

    @property
    def sh_degree(self) -> int:
        """0 to 3; K = (degree + 1)^2."""
        return math.isqrt(self.sh.shape[1]) - 1

    @property
    def rgb(self) -> Tensor:
        """[N, 3], the part of the colour that is the same from all sides; [0, 1] for what a network made."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        """The same Gaussians on another device or in another float type."""
        return self._each(lambda values: values.to(device=device, dtype=dtype))

    def detach(self) -> Gaussians:
        """The same Gaussians, cut from the autograd graph."""
        return self._each(Tensor.detach)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Gaussians:
        return Gaussians(*(change(getattr(self, name)) for name in TENSORS), removed=self.removed)

    def validate(self) -> Gaussians:
        """Return self, or raise when a number makes no sense.

        Raises:
            InputError: NaN or infinity, a negative scale, an opacity outside [0, 1], a quaternion of length 0
                (below 1e-12, where normalising gives no rotation) or of one that is too large for its type.
        """
        for name in TENSORS:
            values = getattr(self, name)
            rows = torch.isfinite(values.reshape(len(self), math.prod(values.shape[1:]))).all(-1)
            if not bool(rows.all()):
                raise InputError(f"{name} must be finite; {int((~rows).sum())} of {len(self)} rows are not")
        if bool((self.scales < 0).any()):
            raise InputError(f"scales must be >= 0 (linear, not log); the smallest is {float(self.scales.min()):.4g}")
        if bool(((self.opacities < 0) | (self.opacities > 1)).any()):
            low, high = self.opacities.aminmax()
            raise InputError(f"opacities must be in [0, 1], not logits; they span {low:.4g} to {high:.4g}")
        lengths = self.quats.norm(dim=-1)
        wrong = (lengths < SHORTEST) | torch.isinf(lengths)  # infinite: its square does not fit into the type
        if bool(wrong.any()):
            required = f"a length above 0 ({SHORTEST:g}) that fits into their type"
            raise InputError(f"quats must have {required}; {int(wrong.sum())} have not")
        return self

    def rotations(self) -> Tensor:
        """[N, 3, 3], from local axes to the world, of the normalised quaternions."""
        w, x, y, z = normalize(self.quats, dim=-1).unbind(-1)  # each [N]
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)  # [N, 3, 3]

    def covariances(self) -> Tensor:
        """[N, 3, 3], R S S^T R^T, world units squared (Kerbl et al. 2023, equation 6)."""
        half = self.rotations() * self.scales[:, None, :]  # [N, 3, 3], R S
        return half @ half.transpose(-1, -2)

    def transform(self, matrix: Tensor) -> Gaussians:
        """Turn, move and scale everything: positions, orientations and sizes together.

        Colours of SH degree 1 to 3 depend on the direction one looks from. They are turned with the object.

        Args:
            matrix: [4, 4] or [3, 3], a rotation times one positive scale, and a translation; points are columns, as in
                ``matrix @ point``.

        Raises:
            InputError: another shape, a last row other than (0, 0, 0, 1), or a matrix that mirrors, shears, or scales
                the axes differently: that would need another Gaussian.
        """
        matrix = torch.as_tensor(matrix, dtype=torch.float64, device=self.device)
        if tuple(matrix.shape) not in ((3, 3), (4, 4)):
            raise InputError(f"matrix must be [4, 4] or [3, 3]; got shape {tuple(matrix.shape)}")
        if len(matrix) == 4 and not torch.allclose(matrix[3], matrix.new_tensor([0, 0, 0, 1]), atol=1e-6):
            raise InputError(f"the last row of matrix must be (0, 0, 0, 1); got {tuple(matrix[3].tolist())}")
        linear = matrix[:3, :3]
        move = matrix[:3, 3] if matrix.shape[0] == 4 else linear.new_zeros(3)
        determinant = float(torch.linalg.det(linear))
        scale = abs(determinant) ** (1 / 3)
        even = torch.eye(3, dtype=torch.float64, device=self.device) * scale**2
        if determinant <= 0 or not torch.allclose(linear @ linear.T, even, atol=1e-5 * max(scale**2, 1e-12)):
            raise InputError("matrix must be a rotation times one positive scale; it mirrors, shears or is singular")
        rotation = linear / scale
        turn = _product_matrix(_quaternion_of(rotation)).to(self.quats)  # [4, 4]
        means = _product(self.means, linear.T.to(self.means))
        return replace(
            self,
            means=means + move.to(means) if move.any() else means,
            quats=_product(self.quats, turn.T),
            scales=self.scales * scale if scale != 1 else self.scales,
            sh=_rotate_sh(self.sh, rotation),
        )

    def prune(self, min_opacity: float = 0.005) -> Gaussians:
        """The Gaussians whose opacity is at least ``min_opacity``; 0.005 is what LGM's save_ply drops below."""
        return self.without("faint", ~(self.opacities >= min_opacity))

    def crop(self, low: Sequence[float] | Tensor, high: Sequence[float] | Tensor) -> Gaussians:
        """The Gaussians whose means lie in a box, ``low`` [3] <= mean <= ``high`` [3], world space."""
        least, most = (torch.as_tensor(corner).to(self.means) for corner in (low, high))
        if least.shape != (3,) or most.shape != (3,) or not bool((least <= most).all()):
            raise InputError(f"low and high must be [3] with low <= high; got {low} and {high}")
        return self.without("outside the box", ~((self.means >= least) & (self.means <= most)).all(-1))

    def crop_sphere(self, center: Sequence[float] | Tensor, radius: float) -> Gaussians:
        """The Gaussians whose means are at most ``radius`` world units from ``center`` [3]."""
        middle = torch.as_tensor(center).to(self.means)
        if middle.shape != (3,) or not radius >= 0:
            raise InputError(f"center must be [3] and radius 0 or more; got {center} and {radius}")
        return self.without("outside the sphere", ~((self.means - middle).norm(dim=-1) <= radius))

    def without(self, reason: str, bad: Tensor) -> Gaussians:
        """Gaussians where ``bad``, a mask [N], is False; ``removed`` counts the rest under that reason."""
        count = self.removed.get(reason, 0) + int(bad.sum())
        return replace(self[~bad], removed={**self.removed, reason: count})

    @staticmethod
    def merge(parts: Sequence[Gaussians]) -> Gaussians:
        """Several sets as one; sets of lower SH degree are filled with zeros, which changes no colour.

        Raises:
            InputError: the list is empty.
        """
        if not parts:
            raise InputError("merge needs at least one Gaussians; got an empty list")
        most = max(part.sh.shape[1] for part in parts)
        filled = [torch.nn.functional.pad(part.sh, (0, 0, 0, most - part.sh.shape[1])) for part in parts]
        columns = zip(*((part.means, part.quats, part.scales, part.opacities) for part in parts), strict=True)
        means, quats, scales, opacities = (torch.cat(column) for column in columns)
        return Gaussians(means, quats, scales, opacities, torch.cat(filled))

    @classmethod
    def from_lgm(cls, tensor: Tensor) -> Gaussians:
        """Read LGM's layout: position 3, opacity 1, scale 3, rotation 4 (wxyz), rgb 3, all activated.

        Args:
            tensor: [1, N, 14] or [N, 14]; opacity and rgb in [0, 1], scale linear.

        Raises:
            InputError: another shape.
        """
        rows = tensor[0] if tensor.ndim == 3 and tensor.shape[0] == 1 else tensor
        if rows.ndim != 2 or rows.shape[1] != 14:
            raise InputError(f"tensor must be [1, N, 14] or [N, 14], LGM's layout; got {tuple(tensor.shape)}")
        means, opacities, scales, quats, rgb = rows.split([3, 1, 3, 4, 3], -1)
        return cls(means, quats, scales, opacities[:, 0], ((rgb - 0.5) / SH_C0)[:, None])

    def to_lgm(self) -> Tensor:
        """[1, N, 14], LGM's layout (see :meth:`from_lgm`).

        Raises:
            InputError: the colours depend on direction, which that layout cannot hold.
        """
        if self.sh_degree:
            raise InputError(f"LGM's layout holds SH degree 0; these have {self.sh_degree}: keep sh[:, :1] first")
        return torch.cat([self.means, self.opacities[:, None], self.scales, self.quats, self.rgb], -1)[None]


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    """[N, C] @ [C, C]. On a CPU, numpy multiplies so thin a table in a third of torch's time."""
    graph = rows.requires_grad or matrix.requires_grad
    if rows.is_cpu and rows.dtype in (torch.float32, torch.float64) and not graph:
        return torch.from_numpy(rows.numpy() @ matrix.numpy())
    return rows @ matrix


def _quaternion_of(rotation: Tensor) -> Tensor:
    """[4] wxyz of a [3, 3] rotation: the null vector of the system q r = R(r) q, taken as the best eigenvector."""
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    # Bar-Itzhack 2000, "New method for extracting the quaternion from a rotation matrix", equation 2, order wxyz
    k = [
        [a + e + i, h - f, c - g, d - b],
        [h - f, a - e - i, b + d, c + g],
        [c - g, b + d, e - a - i, f + h],
        [d - b, c + g, f + h, i - a - e],
    ]
    return torch.linalg.eigh(torch.tensor(k, dtype=torch.float64)).eigenvectors[:, -1]


def _product_matrix(q: Tensor) -> Tensor:
    """[4, 4] of a quaternion [4] wxyz: matrix @ p is Hamilton's product q p, the rotation p, then q."""
    w, x, y, z = q.tolist()
    return torch.tensor([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], dtype=torch.float64)


def sh_basis(directions: Tensor, degree: int) -> Tensor:
    """The real spherical harmonics of 3DGS.

    Args:
        directions: [..., 3], unit length, from the camera to the Gaussian, world space.
        degree: 0 to 3.

    Returns:
        [..., K], K = (degree + 1)^2, in the order and with the signs of the 3DGS files.

    Source:
        Sloan 2013, Efficient Spherical Harmonic Evaluation, appendix; signs as in Kerbl et al. 2023's files.
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    basis = [torch.full_like(x, SH_C0)]
    if degree > 0:
        basis += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree > 1:
        basis += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (xx - yy),
        ]
    if degree > 2:
        basis += [
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, -1)


def _rotate_sh(sh: Tensor, rotation: Tensor) -> Tensor:
    """Turn colours [N, K, 3] with the object: new(R d) = old(d) for all directions d.

    The harmonics of one degree turn among themselves, so the matrix that does it follows from sampling:
    with B = basis(d) and B' = basis(R d) over enough directions d, old coefficients c map to pinv(B') B c.
    """
    count = sh.shape[1]
    if count == 1:
        return sh
    directions = normalize(torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1)
    directions = directions.to(rotation)
    degree = math.isqrt(count) - 1
    before, after = sh_basis(directions, degree), sh_basis(directions @ rotation.T, degree)  # [64, K]
    turn = torch.linalg.lstsq(after, before).solution  # [K, K]
    return torch.einsum("kj,njc->nkc", turn.to(sh), sh)
