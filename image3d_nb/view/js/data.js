// The data of the viewer, as image3d_nb/view/scene.py writes it. World: OpenGL, right-handed, +y up.
// Everything binary may come as base64 text (in a page) or as a DataView (what anywidget hands over).
//
// splats: rows of 32 bytes as in a .splat file (antimatter15/splat), little-endian:
//   float32 x y z | float32 scale x y z (linear) | uint8 r g b opacity | uint8 rotation w x y z (128 + 128 q)
// surfaces: a list of { vertices float32 xyz, faces uint32 abc, normals int16 xyz, and either colours uint8 rgb or
//   uvs float32 uv with texture (the bytes of a PNG), lit: whether the light of the viewer falls on it }
// lines: { ends float32 xyz xyz, colours uint8 rgba, one a line }

export const ROW_BYTES = 32;

// The three kinds, each of which may be missing -> typed arrays.
export function unpackScene({ splats = null, surfaces = [], lines = null }) {
  if (splats === null && surfaces.length === 0 && lines === null) throw new Error("the scene is empty");
  return {
    rows: splats === null ? null : toRows(splats),
    surfaces: surfaces.map(unpackSurface),
    lines: lines === null ? null : { ends: toArray(Float32Array, lines.ends), colours: toBytes(lines.colours) },
  };
}

function unpackSurface({ vertices, faces, normals, colours = null, uvs = null, texture = null, lit = false }) {
  return {
    vertices: toArray(Float32Array, vertices),
    faces: toArray(Uint32Array, faces),
    normals: toArray(Int16Array, normals),
    colours: colours && toBytes(colours),
    uvs: uvs && toArray(Float32Array, uvs),
    texture: texture && toBytes(texture),
    picture: null, // the texture decoded: see loadPictures
    lit,
  };
}

// Textures are files, which a browser decodes in its own time. Colours must arrive as they were stored.
export async function loadPictures(scene) {
  const decoding = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const load = async (surface) => {
    surface.picture = await createImageBitmap(new Blob([surface.texture], { type: "image/png" }), decoding);
  };
  await Promise.all(scene.surfaces.filter((surface) => surface.texture).map(load));
}

function toRows(source) {
  const bytes = toBytes(source);
  if (bytes.length === 0 || bytes.length % ROW_BYTES !== 0) {
    throw new Error(`splat data must be rows of ${ROW_BYTES} bytes; got ${bytes.length} bytes`);
  }
  return bytes;
}

// DataView, ArrayBuffer, typed array or base64 text -> Uint8Array.
function toBytes(source) {
  if (typeof source === "string") return fromBase64(source.trim());
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  throw new Error("viewer data must be base64 text, an ArrayBuffer, a DataView or a typed array");
}

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// A copy, because a DataView may start where no float can.
function toArray(Type, source) {
  return new Type(toBytes(source).slice().buffer);
}

// Rows -> Float32Array [N * 3] of positions, which is all that the sort needs.
export function positionsOf(rows) {
  const view = new DataView(rows.buffer, rows.byteOffset, rows.byteLength);
  const count = rows.length / ROW_BYTES;
  const positions = new Float32Array(count * 3);
  for (let i = 0; i < count; i++) {
    for (let axis = 0; axis < 3; axis++) {
      positions[3 * i + axis] = view.getFloat32(ROW_BYTES * i + 4 * axis, true);
    }
  }
  return positions;
}
