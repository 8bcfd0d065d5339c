// Half-precision floats: all 65536 of them as a table, since browsers without Float16Array get only their bits.

/** Value of a half-precision float. @param {number} bits 0..65535 */
export function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let table = null;

/** Values of all halves, made when first asked for. @returns {Float32Array} 65536 values */
export function halfTable() {
  table ??= Float32Array.from({ length: 65536 }, (_, bits) => fromHalf(bits));
  return table;
}

/**
 * Numbers of an output, whatever the browser calls halves.
 * @param {Float32Array | Uint16Array | any} data of a float32 or float16 tensor (Float16Array in newer browsers)
 * @returns {Float32Array}
 */
export function asFloats(data) {
  if (data instanceof Float32Array) return data;
  const bits = data instanceof Uint16Array ? data : new Uint16Array(data.buffer, data.byteOffset, data.length);
  const values = halfTable();
  const floats = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) floats[i] = values[bits[i]];
  return floats;
}
