// From pixels to what a network reads, and from probabilities to a soft-edged mask; plain arrays, so that Node tests them.

const SOFT = 0.16; // width of an edge in probability: at the threshold the mask is half there

/**
 * Leave the alpha out: RGBA words to RGB bytes, four pixels at a time.
 * @param {Uint32Array} rgba one word per pixel, little-endian
 * @param {Uint8Array} rgb 3 bytes per pixel, written
 */
export function dropAlpha(rgba, rgb) {
  const words = new Uint32Array(rgb.buffer, rgb.byteOffset, rgb.length >> 2);
  const fours = rgba.length & ~3;
  let to = 0;
  for (let i = 0; i < fours; i += 4) {
    const a = rgba[i], b = rgba[i + 1], c = rgba[i + 2], d = rgba[i + 3];
    words[to++] = (a & 0xffffff) | (b << 24);
    words[to++] = ((b >>> 8) & 0xffff) | (c << 16);
    words[to++] = ((c >>> 16) & 0xff) | (d << 8);
  }
  for (let i = fours; i < rgba.length; i++) {
    for (let channel = 0; channel < 3; channel++) rgb[3 * i + channel] = rgba[i] >>> (8 * channel);
  }
}

/** 0 below an edge, 1 above it, a smooth step between. */
export function soft(margin) {
  const t = Math.min(1, Math.max(0, margin / SOFT + 0.5));
  return t * t * (3 - 2 * t);
}

/** Colour and alpha 0..1 as a little-endian RGBA word. */
export function word([r, g, b], alpha) {
  return ((Math.round(255 * alpha) << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/**
 * Paint a mask.
 * @param {Float32Array} probabilities channels x pixels, 0..1
 * @param {{colour: number[], background?: boolean}[]} classes in the order of the channels; two classes share one channel
 * @param {number} threshold one channel: least probability of the second class; several: least certainty that is painted
 * @param {Uint32Array} rgba one word per pixel, written
 * @returns {number[]} share of the pixels of each class, 0..1
 */
export function paintMask(probabilities, classes, threshold, rgba) {
  const pixels = rgba.length;
  const paint = probabilities.length === pixels ? paintOne : paintSeveral;
  return paint(probabilities, classes, threshold, rgba).map((count) => count / pixels);
}

function paintOne(probabilities, classes, threshold, rgba) {
  const table = Uint32Array.from({ length: 1024 }, (_, n) => word(classes[1].colour, soft(n / 1023 - threshold)));
  let found = 0;
  for (let i = 0; i < rgba.length; i++) {
    const p = probabilities[i];
    rgba[i] = table[(p * 1023 + 0.5) | 0];
    if (p >= threshold) found++;
  }
  return [rgba.length - found, found];
}

/** Each pixel has the colour of its likeliest class, mixed with that of the runner-up where they are close. */
function paintSeveral(probabilities, classes, threshold, rgba) {
  const pixels = rgba.length;
  const counts = classes.map(() => 0);
  const shown = classes.map((each) => (each.background ? 0 : 1));
  const plain = classes.map((each, n) => (shown[n] ? word(each.colour, 1) : 0));
  for (let i = 0; i < pixels; i++) {
    let first = 0, second = 0, best = probabilities[i], next = -1;
    for (let c = 1, at = i + pixels; c < classes.length; c++, at += pixels) {
      const p = probabilities[at];
      if (p > best) {
        next = best; second = first; best = p; first = c;
      } else if (p > next) {
        next = p; second = c;
      }
    }
    counts[first]++;
    if (best < threshold) rgba[i] = 0;
    else if (best - next >= SOFT / 2 || !(shown[first] || shown[second])) rgba[i] = plain[first];
    else rgba[i] = mix(plain[first], plain[second], soft(best - next));
  }
  return counts;
}

/** Two words of alpha 0 or 255, the first with this weight; colour follows alpha, so that edges keep their class's colour. */
function mix(one, other, weight) {
  const a = one ? weight : 0, b = other ? 1 - weight : 0;
  const share = a / (a + b || 1);
  const blend = (shift) => Math.round(((one >>> shift) & 255) * share + ((other >>> shift) & 255) * (1 - share)) << shift;
  return ((Math.round(255 * (a + b)) << 24) | blend(16) | blend(8) | blend(0)) >>> 0;
}
