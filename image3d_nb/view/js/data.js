// The data of the viewer: rows of 32 bytes as in a .splat file (antimatter15/splat), little-endian:
//   float32 x y z | float32 scale x y z (linear) | uint8 r g b opacity | uint8 rotation w x y z (128 + 128 q)
// World: OpenGL, right-handed, +y up, the front camera on +z.

export const ROW_BYTES = 32;

// DataView (what anywidget hands over), ArrayBuffer, typed array or base64 text -> Uint8Array of whole rows.
export function toRows(source) {
  const bytes = toBytes(source);
  if (bytes.length === 0 || bytes.length % ROW_BYTES !== 0) {
    throw new Error(`splat data must be rows of ${ROW_BYTES} bytes; got ${bytes.length} bytes`);
  }
  return bytes;
}

function toBytes(source) {
  if (typeof source === "string") return fromBase64(source.trim());
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  throw new Error("splat data must be base64 text, an ArrayBuffer, a DataView or a typed array");
}

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
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
