// The data of the viewer, as image3d_nb/view/scene.py writes it. World: OpenGL, right-handed, +y up.
// Everything binary may come as base64 text (in a page) or as a DataView (what anywidget hands over).
//
// splats: rows of 32 bytes as in a .splat file (antimatter15/splat), little-endian:
//   float32 x y z | float32 scale x y z (linear) | uint8 r g b opacity | uint8 rotation w x y z (128 + 128 q)
// surfaces: a list of { vertices float32 xyz, faces uint32 abc, normals int16 xyz, and either colours uint8 rgb or
//   uvs float32 uv with texture (the bytes of a PNG), lit: whether the light of the viewer falls on it }
// lines: { ends float32 xyz xyz, colours uint8 rgba, one a line }
// In a page, splats are { means, scales, colours, quats }, and these and all arrays of surfaces are packed columns:
//   see unpackColumns, and image3d_nb/view/packing.py.

export const ROW_BYTES = 32;

// The three kinds, each of which may be missing -> typed arrays.
export async function unpackScene({ splats = null, surfaces = [], lines = null }) {
  if (splats === null && surfaces.length === 0 && lines === null) throw new Error("the scene is empty");
  return {
    rows: splats === null ? null : splats.means ? await packedRows(splats) : toRows(splats),
    surfaces: await Promise.all(surfaces.map(unpackSurface)),
    lines: lines === null ? null
      : { ends: await toArray(Float32Array, lines.ends), colours: toBytes(lines.colours) },
  };
}

async function unpackSurface({ vertices, faces, normals, colours = null, uvs = null, texture = null, lit = false }) {
  return {
    vertices: await toArray(Float32Array, vertices),
    faces: await toArray(Uint32Array, faces),
    normals: normals.deflated ? (await toArray(Int16Array, normals)).map((value) => 258 * value)
      : await toArray(Int16Array, normals),
    colours: colours && await toArray(Uint8Array, colours),
    uvs: uvs && await toArray(Float32Array, uvs),
    texture: texture && toBytes(texture),
    picture: null, // the texture decoded: see loadPictures
    lit,
  };
}

// Textures are files, which a browser decodes in its own time. Colours must arrive as they were stored.
export async function loadPictures(scene) {
  const decoding = { premultiplyAlpha: "none", colorSpaceConversion: "none" };
  const load = async (surface) => {
    surface.picture = await createImageBitmap(new Blob([surface.texture]), decoding);
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
async function toArray(Type, source) {
  return source.deflated ? Type.from(await unpackColumns(source)) : new Type(toBytes(source).slice().buffer);
}

// Columns of numbers, low + step * code: the differences of the codes are cut into planes of bytes, and deflated.
async function unpackColumns({ deflated, count, width, low, step, log }) {
  const stream = new Blob([toBytes(deflated)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = low.length;
  if (bytes.length !== count * width * columns) {
    throw new Error(`packed data must be ${count * width * columns} bytes; got ${bytes.length}`);
  }
  const values = new Float64Array(count * columns);
  for (let column = 0; column < columns; column++) {
    let code = 0;
    for (let row = 0; row < count; row++) {
      for (let byte = 0; byte < width; byte++) code += bytes[(column * width + byte) * count + row] * 256 ** byte;
      code %= 256 ** width;
      const value = low[column] + step[column] * code;
      values[columns * row + column] = log ? Math.exp(value) : value;
    }
  }
  return values;
}

async function packedRows({ means, scales, colours, quats }) {
  const parts = await Promise.all([means, scales, colours, quats].map(unpackColumns));
  const rows = new DataView(new ArrayBuffer(ROW_BYTES * means.count));
  for (let row = 0; row < means.count; row++) {
    for (let axis = 0; axis < 3; axis++) {
      rows.setFloat32(ROW_BYTES * row + 4 * axis, parts[0][3 * row + axis], true);
      rows.setFloat32(ROW_BYTES * row + 12 + 4 * axis, parts[1][3 * row + axis], true);
    }
    for (let channel = 0; channel < 4; channel++) {
      rows.setUint8(ROW_BYTES * row + 24 + channel, parts[2][4 * row + channel]);
      rows.setUint8(ROW_BYTES * row + 28 + channel, parts[3][4 * row + channel]);
    }
  }
  return new Uint8Array(rows.buffer);
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
