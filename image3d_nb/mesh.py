"""The container of a triangle mesh: plain arrays, in the world of :mod:`image3d_nb.cameras`.

Shapes: V vertices, F faces.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._texture_sheet import texture_sheet
from .errors import InputError

if TYPE_CHECKING:
    import trimesh

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]

GREY = 0.7
"""sRGB of a mesh with neither vertex colours nor a texture."""
_ROUNDING = 1e-3
"""Colours may be outside [0, 1] by this much."""


@dataclass(frozen=True, repr=False)
class Mesh:
    """Triangles with colours: by vertex, or by a texture.

    Attributes:
        vertices: [V, 3] float, world units; integers become float32.
        faces: [F, 3] int, indices into ``vertices``, counter-clockwise seen from outside.
        vertex_colors: [V, 3] float, sRGB in [0, 1], or None.
        uvs: [V, 2] float, texture coordinates, (0, 0) at the texture's lower left corner, or None.
        texture: [h, w, 3] uint8, sRGB, first row at the top, or None.
        normals: [V, 3] float, unit length, or None: :meth:`vertex_normals` computes them then.

    Raises:
        InputError: an array of another shape or type, NaN or infinity, a face that names no vertex, or vertex colours
            outside [0, 1].

    Example:
        >>> Mesh(np.eye(3), np.array([[0, 1, 2]]))
        Mesh(vertices=3, faces=1, colors=none)
    """

    vertices: Floats
    faces: NDArray[np.integer]
    vertex_colors: Floats | None = None
    uvs: Floats | None = None
    texture: NDArray[np.uint8] | None = None
    normals: Floats | None = None

    def __post_init__(self) -> None:
        _require(self.vertices, "vertices", 3)
        _require(self.faces, "faces", 3)
        if np.issubdtype(self.vertices.dtype, np.integer):  # typed by hand; transforms need fractions
            object.__setattr__(self, "vertices", self.vertices.astype(np.float32))
        if not np.issubdtype(self.faces.dtype, np.integer):
            raise InputError(f"faces must be integers; got {self.faces.dtype}")
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= len(self.vertices)):
            low, high = self.faces.min(), self.faces.max()
            raise InputError(f"faces must index {len(self.vertices)} vertices; got {low}..{high}")
        for name, columns in (("vertex_colors", 3), ("uvs", 2), ("normals", 3)):
            array = getattr(self, name)
            if array is not None:
                _require(array, name, columns)
                if len(array) != len(self.vertices):
                    raise InputError(f"{name} must have a row a vertex ({len(self.vertices)}); got {len(array)}")
        if self.vertex_colors is not None:
            _require_colors(self.vertex_colors)
        if self.texture is not None:
            _require_texture(self.texture)

    def __repr__(self) -> str:
        colors = "texture" if self.texture is not None else "none" if self.vertex_colors is None else "vertex"
        return f"Mesh(vertices={len(self.vertices)}, faces={len(self.faces)}, colors={colors})"

    @property
    def bounds(self) -> Floats:
        """[2, 3], the lowest and the highest corner, world units."""
        if not len(self.vertices):
            raise InputError("bounds need at least one vertex; the mesh is empty")
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def face_normals(self) -> Floats:
        """[F, 3], unit length, pointing outwards for counter-clockwise faces; zeros for faces without an area."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return unit(np.cross(b - a, c - a))

    def vertex_normals(self) -> Floats:
        """[V, 3], unit length: the stored normals, or the mean of the faces around a vertex, weighted by area."""
        return vertex_normals(self.vertices, self.faces) if self.normals is None else self.normals

    def transform(self, matrix: ArrayLike) -> Mesh:
        """Move, turn, stretch, shear or mirror. Normals follow, and a mirrored surface still faces outwards.

        Args:
            matrix: [4, 4] or [3, 3], any invertible affine map; points are columns, as in ``matrix @ point``.

        Raises:
            InputError: another shape, a last row other than (0, 0, 0, 1), or a map that flattens the mesh.
        """
        linear, move = _affine(matrix)
        mirrored = np.linalg.det(linear) < 0
        normals = None
        if self.normals is not None:
            normals = unit(self.normals @ np.linalg.inv(linear)).astype(self.normals.dtype)  # inverse transpose
        return replace(
            self,
            vertices=(self.vertices @ linear.T + move).astype(np.result_type(self.vertices, np.float32)),
            faces=self.faces[:, ::-1].copy() if mirrored else self.faces,
            normals=normals,
        )

    def centered(self) -> Mesh:
        """The mesh moved so that the centre of its bounds is at the origin."""
        return replace(self, vertices=self.vertices - self.bounds.mean(0).astype(self.vertices.dtype))

    def scaled_to_mm(self, longest: float, unit_mm: float = 1.0) -> Mesh:
        """The mesh scaled about the origin, so that the longest side of its bounds has this length.

        Args:
            longest: millimetres, above 0.
            unit_mm: millimetres in one unit of the result: 1 for printers, 1000 for metres (glTF).

        Raises:
            InputError: a length or a unit that is not above 0, or a mesh without a size.
        """
        size = float(np.ptp(self.bounds, axis=0).max())
        if not (np.isfinite([longest, unit_mm]).all() and longest > 0 and unit_mm > 0 and size > 0):
            raise InputError(
                f"longest and unit_mm must be above 0, of a mesh with a size; got {longest}, {unit_mm} and {size:g}"
            )
        return replace(self, vertices=self.vertices * (longest / size / unit_mm))

    def to_z_up(self) -> Mesh:
        """The mesh turned about x from y up, as ours, to z up, as printers, Blender and CAD have it.

        The front, which looks along +z, looks along -y then.
        """
        return self.transform(((1, 0, 0), (0, 0, -1), (0, 1, 0)))

    def to_y_up(self) -> Mesh:
        """The inverse of :meth:`to_z_up`."""
        return self.transform(((1, 0, 0), (0, 0, 1), (0, -1, 0)))

    def inverted(self) -> Mesh:
        """The mesh turned inside out: every face wound the other way, every normal reversed."""
        return replace(self, faces=self.faces[:, ::-1].copy(), normals=None if self.normals is None else -self.normals)

    def merged_vertices(self) -> Mesh:
        """The mesh with vertices that are equal in position, colour, uv and normal merged into one.

        Files without an index (.stl) hold three vertices for each face; this finds the shared ones.
        """
        columns = [self.vertices, self.vertex_colors, self.uvs, self.normals]
        _, first, inverse = unique_rows(np.concatenate([c for c in columns if c is not None], axis=1))
        fields = ("vertex_colors", "uvs", "normals")
        rows = {name: None if getattr(self, name) is None else getattr(self, name)[first] for name in fields}
        return replace(self, vertices=self.vertices[first], faces=inverse[self.faces], **rows)

    def colors_at(self, face: Ints, weights: Floats) -> Floats:
        """Colours of points on the surface, as the renderer draws them: from the texture, else the vertices, else grey.

        Args:
            face: [n], indices of faces.
            weights: [n, 3], of the face's corners, which add up to 1.

        Returns:
            [n, 3], sRGB in [0, 1]; a texture is read bilinearly, and its border colour continues outside.
        """
        if self.texture is not None and self.uvs is not None:
            return _bilinear(self.texture, mixed(self.uvs, self.faces, face, weights))
        if self.vertex_colors is not None:
            return mixed(self.vertex_colors, self.faces, face, weights)
        return np.full((len(face), 3), GREY)

    def random_places(self, count: int, seed: int = 0) -> tuple[Ints, Floats]:
        """Draw random points on the surface, evenly by area.

        Args:
            count: number of points, 1 or more.
            seed: of the random numbers; the same seed gives the same points.

        Returns:
            face [count], and weights [count, 3] of its corners, which add up to 1.

        Raises:
            InputError: the mesh has no area, or the count is below 1.
        """
        area = self.face_areas()
        if count < 1 or not area.sum() > 0:
            raise InputError(
                f"1 or more points and a mesh with an area are needed; got {count} and area {area.sum():g}"
            )
        rng = np.random.default_rng(seed)
        face = rng.choice(len(area), count, p=area / area.sum())  # [count]
        return face, random_weights(rng, count)

    def points_at(self, face: Ints, weights: Floats) -> NDArray[np.float64]:
        """Positions [n, 3], world units, of the points that :meth:`colors_at` takes."""
        return mixed(self.vertices, self.faces, face, weights)

    def face_areas(self) -> Floats:
        """[F], world units squared."""
        a, b, c = (self.vertices[self.faces[:, corner]].astype(np.float64) for corner in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2

    @staticmethod
    def merge(parts: Sequence[Mesh]) -> Mesh:
        """Several meshes as one. Parts that overlap still overlap: their solids are not united.

        Parts without colours become grey beside coloured ones, as they are drawn; different textures are put into a
        new one. Normals, and uvs without a texture, stay if all parts have them; a warning tells of uvs that go.

        Args:
            parts: one mesh or more.

        Raises:
            InputError: the list is empty; textured parts beside others; different textures, and uvs outside [0, 1].
        """
        if not parts:
            raise InputError("merge needs at least one Mesh; got an empty list")
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
        uvs, texture = _joined_textures(parts)
        normals = [part.normals for part in parts if part.normals is not None]
        return Mesh(
            np.concatenate([part.vertices for part in parts]),
            np.concatenate(faces),
            vertex_colors=_joined_colors(parts),
            uvs=uvs,
            texture=texture,
            normals=np.concatenate(normals) if len(normals) == len(parts) else None,
        )

    @staticmethod
    def from_trimesh(geometry: trimesh.Trimesh | trimesh.Scene) -> Mesh:
        """Convert a Trimesh, or a Scene, whose meshes trimesh joins: the same positions (float64), order and normals.

        Colours: of vertices, of faces (each corner becomes a vertex), the base colour texture, or the material's plain
        colour. Other textures and transparency are left out.

        Raises:
            InputError: another object, or numbers that are not finite.
        """
        import trimesh

        whole = geometry.to_mesh() if isinstance(geometry, trimesh.Scene) else geometry
        if not isinstance(whole, trimesh.Trimesh):
            raise InputError(f"geometry must be a trimesh.Trimesh or a trimesh.Scene; got {type(whole).__name__}")
        mesh = Mesh(np.array(whole.vertices), np.array(whole.faces), normals=np.array(whole.vertex_normals))
        visual: Any = whole.visual  # one of several classes, by its kind
        if visual.kind == "vertex":
            return replace(mesh, vertex_colors=visual.vertex_colors[:, :3] / 255)
        if visual.kind == "face":
            at, colors = mesh.faces.reshape(-1), np.repeat(visual.face_colors[:, :3] / 255, 3, axis=0)
            own = np.arange(len(at)).reshape(-1, 3)
            return Mesh(mesh.vertices[at], own, vertex_colors=colors, normals=mesh.vertex_normals()[at])
        if visual.kind != "texture":
            return mesh
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is None or visual.uv is None:
            return replace(mesh, vertex_colors=np.tile(material.main_color[:3] / 255, (len(mesh.vertices), 1)))
        return replace(mesh, uvs=np.array(visual.uv[:, :2]), texture=np.array(image.convert("RGB")))

    def to_trimesh(self) -> trimesh.Trimesh:
        """The mesh as a Trimesh: the same vertices in the same order; colours become bytes, the texture a material."""
        import trimesh
        from PIL import Image

        visual: Any = None
        if self.texture is not None and self.uvs is not None:
            look = {"baseColorTexture": Image.fromarray(self.texture), "metallicFactor": 0.0, "roughnessFactor": 0.9}
            visual = trimesh.visual.TextureVisuals(self.uvs, trimesh.visual.material.PBRMaterial(**look))
        elif self.vertex_colors is not None:
            colors = np.rint(255 * self.vertex_colors.clip(0, 1)).astype(np.uint8)
            visual = trimesh.visual.ColorVisuals(vertex_colors=colors)
        return trimesh.Trimesh(self.vertices, self.faces, vertex_normals=self.normals, visual=visual, process=False)

    # Deprecated names, kept for one release.

    def decimate(self, target_faces: int) -> Mesh:
        """Deprecated alias of :func:`image3d_nb.decimate`."""
        from .meshing.decimate import decimate

        _renamed("Mesh.decimate(n)", "image3d_nb.decimate(mesh, n)")
        return decimate(self, target_faces)

    def turned_up(self, axis: str) -> Mesh:
        """Deprecated alias of :meth:`to_z_up` (axis "z") and :meth:`to_y_up` (axis "y")."""
        if axis not in ("y", "z"):
            raise InputError(f"axis must be 'z' (from y up to z up) or 'y' (back); got {axis!r}")
        _renamed("Mesh.turned_up", "Mesh.to_z_up or Mesh.to_y_up")
        return self.to_z_up() if axis == "z" else self.to_y_up()

    def flipped(self) -> Mesh:
        """Deprecated alias of :meth:`inverted`."""
        _renamed("Mesh.flipped", "Mesh.inverted")
        return self.inverted()

    def welded(self) -> Mesh:
        """Deprecated alias of :meth:`merged_vertices`."""
        _renamed("Mesh.welded", "Mesh.merged_vertices")
        return self.merged_vertices()


def _renamed(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=3)


def vertex_normals(vertices: Floats, faces: Ints) -> NDArray[np.float64]:
    """Unit normals of vertices: the mean of the faces around each, weighted by their area.

    Args:
        vertices: [V, 3].
        faces: [F, 3], counter-clockwise seen from outside.

    Returns:
        [V, 3]; zeros for a vertex without a face that has an area.
    """
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    area = np.cross(b - a, c - a)  # [F, 3], length is twice the area
    index = faces.T.ravel()  # [3 F]
    sums = [np.bincount(index, np.tile(area[:, k], 3), len(vertices)) for k in range(3)]
    return unit(np.stack(sums, axis=1).astype(np.float64))


def random_weights(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Barycentric weights [count, 3] of random points, evenly distributed over a triangle.

    Source:
        Osada et al. 2002, Shape Distributions, section 4.2: (1 - sqrt(r1)) A + sqrt(r1) (1 - r2) B + sqrt(r1) r2 C.
    """
    r1, r2 = np.sqrt(rng.random(count)), rng.random(count)
    return np.stack([1 - r1, r1 * (1 - r2), r1 * r2], axis=1)


def unique_rows(rows: Floats) -> tuple[Floats, Ints, Ints]:
    """The distinct rows of an array [n, k], in order of first appearance; 0.0 and -0.0 are equal.

    Returns:
        rows [m, k]; first [m], the index of each one's first appearance; inverse [n], each row's index in ``rows``.
    """
    key = np.ascontiguousarray(rows + 0.0)  # -0.0 + 0.0 is 0.0
    view = key.view(np.dtype((np.void, key.dtype.itemsize * key.shape[1]))).ravel()
    _, first, inverse = np.unique(view, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first = first[order]
    return key[first], first, rank[inverse.reshape(-1)]


def _affine(matrix: ArrayLike) -> tuple[Floats, Floats]:
    """The linear part [3, 3] and the translation [3] of an invertible matrix [4, 4] or [3, 3]."""
    full = np.asarray(matrix, np.float64)
    if full.shape not in ((3, 3), (4, 4)) or not np.isfinite(full).all():
        raise InputError(f"matrix must be finite and [4, 4] or [3, 3]; got shape {full.shape}")
    if full.shape == (4, 4) and not np.array_equal(full[3], [0, 0, 0, 1]):
        raise InputError(f"the last row of matrix must be (0, 0, 0, 1); got {tuple(full[3].tolist())}")
    stretch = np.linalg.svd(full[:3, :3], compute_uv=False)
    if stretch[2] <= 1e-12 * stretch[0]:
        raise InputError(f"matrix must keep a volume; it stretches by {stretch[0]:.3g} and {stretch[2]:.3g}")
    return full[:3, :3], full[:3, 3] if len(full) == 4 else np.zeros(3)


def mixed(values: Floats, faces: Ints, face: Ints, weights: Floats) -> NDArray[np.float64]:
    """Interpolate vertex values [V, k] at points on faces: face [n] and weights [n, 3] give [n, k]."""
    mixed: NDArray[np.float64] = np.einsum("nc,nck->nk", weights, values[faces[face]].astype(np.float64))
    return mixed


def _joined_colors(parts: Sequence[Mesh]) -> Floats | None:
    if all(part.vertex_colors is None for part in parts):
        return None
    return np.concatenate(
        [np.full(part.vertices.shape, GREY) if part.vertex_colors is None else part.vertex_colors for part in parts]
    )


def _joined_textures(parts: Sequence[Mesh]) -> tuple[Floats | None, NDArray[np.uint8] | None]:
    uvs = [part.uvs for part in parts if part.uvs is not None]
    textures = [part.texture for part in parts if part.texture is not None]
    if not textures:
        if 0 < len(uvs) < len(parts):
            left_out = f"the uvs of {len(uvs)} of {len(parts)} parts are left out: the others have none"
            warnings.warn(left_out, stacklevel=3)
        return (np.concatenate(uvs) if len(uvs) == len(parts) else None), None
    if not len(uvs) == len(textures) == len(parts):
        raise InputError(f"textured parts cannot be merged with others; got {len(textures)} of {len(parts)} textured")
    if all(np.array_equal(texture, textures[0]) for texture in textures[1:]):
        return np.concatenate(uvs), textures[0]
    for some in uvs:
        if len(some) and (some.min() < 0 or some.max() > 1):
            raise InputError(f"uvs must be in [0, 1] to join textures; got {some.min():.4g} to {some.max():.4g}")
    texture, places, _ = texture_sheet(textures, margin=1)
    return np.concatenate([some * place[:2] + place[2:] for some, place in zip(uvs, places, strict=True)]), texture


def _require(array: Floats | NDArray[np.integer], name: str, columns: int) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != columns:
        got = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{name} must be a numpy array [n, {columns}]; got {got}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite; got NaN or infinity")


def _require_colors(colors: Floats) -> None:
    if not np.issubdtype(colors.dtype, np.floating):
        raise InputError(f"vertex_colors must be floats in [0, 1]; got {colors.dtype}: divide bytes by 255")
    if colors.size and not (colors.min() >= -_ROUNDING and colors.max() <= 1 + _ROUNDING):
        raise InputError(f"vertex_colors must be in [0, 1]; they span {colors.min():.4g} to {colors.max():.4g}")


def _require_texture(texture: NDArray[np.uint8]) -> None:
    if not isinstance(texture, np.ndarray):
        raise InputError(f"texture must be a numpy array [h, w, 3], uint8; got {type(texture).__name__}")
    if texture.dtype != np.uint8 or texture.ndim != 3 or texture.shape[2] != 3:
        raise InputError(f"texture must be [h, w, 3], uint8; got {texture.shape}, {texture.dtype}")


def unit(vectors: Floats) -> NDArray[Any]:
    """Vectors [..., k] scaled to length 1; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def _bilinear(texture: NDArray[np.uint8], uvs: Floats) -> Floats:
    """Colours [n, 3] in [0, 1] of a texture [h, w, 3] at uvs [n, 2]; its border colour continues outside."""
    h, w = texture.shape[:2]
    x = np.clip(uvs[:, 0] * w - 0.5, 0, w - 1)
    y = np.clip((1 - uvs[:, 1]) * h - 0.5, 0, h - 1)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    low = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return (top * (1 - fy) + low * fy) / 255
