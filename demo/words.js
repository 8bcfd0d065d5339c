// Everything that can go wrong, each as a sentence and a way on.

/** An error the visitor is told about. `code` is a key of `TROUBLES`; `detail` is for those who mend the page. */
export class Trouble extends Error {
  constructor(code, detail = '') {
    super(detail || code);
    this.name = 'Trouble';
    this.code = code;
    this.detail = detail;
  }
}

/** code -> [what happened, what to do next] */
export const TROUBLES = {
  denied: [
    'The browser was not allowed to use the camera.',
    'Allow it in the address bar (the camera sign), then try again, or open a picture or a video.',
  ],
  'no-camera': ['No camera was found.', 'Plug one in, it will appear in the list, or open a picture or a video.'],
  busy: [
    'The camera is in use by another program.',
    'Close video calls and other pages that use it, then try again, or choose another camera.',
  ],
  insecure: [
    'Browsers give the camera only to pages with https or on localhost, and this address is neither.',
    'Open the page by https, or open a picture or a video.',
  ],
  gone: ['The camera was unplugged or stopped.', 'Plug it in and try again, or choose another camera.'],
  camera: ['The camera could not be opened.', 'Try again, choose another camera, or open a picture or a video.'],
  manifest: [
    'The description of the model, manifest.json, is missing or unreadable.',
    'Make the page again with: segwright demo MODEL. It does not work from the bare repository.',
  ],
  'model-missing': ['The model file is missing.', 'Make the page again with: segwright demo MODEL, and upload all of it.'],
  'model-pointer': [
    'In place of the model there is a Git LFS pointer, a note of 130 bytes.',
    'Fetch the real file with: git lfs pull, then upload it.',
  ],
  'model-html': [
    'In place of the model the server sent a web page.',
    'The file is not where manifest.json says, or asks for a login; upload models/ beside index.html.',
  ],
  'model-wrong': [
    'The model file is not the one manifest.json describes: its size or checksum differs.',
    'Reload the page; if it stays, make the page again with: segwright demo MODEL.',
  ],
  'runtime-missing': [
    'ONNX Runtime Web, which runs the model, is missing or damaged.',
    'Make the page again with: segwright demo MODEL, and upload runtime/ beside index.html.',
  ],
  network: ['The download was interrupted.', 'Check the connection and try again.'],
  simd: [
    'This browser has no WebAssembly SIMD, which the network needs.',
    'Use a browser of 2023 or newer: Chrome 91, Firefox 89, Safari 16.4.',
  ],
  memory: ['There is not enough memory for the network.', 'Close other tabs and programs, then try again.'],
  wrong: [
    'On this device the network gives wrong answers to a picture whose answer is known.',
    'Update the browser and the graphics driver, or try another browser.',
  ],
  unable: ['The network cannot run in this browser.', 'Reload the page, or try another browser.'],
  file: [
    'This file cannot be shown as a picture or a video.',
    'Choose a JPEG, PNG or WebP picture, or an MP4 or WebM video.',
  ],
};

/**
 * Trouble behind an error of getUserMedia.
 * @param {any} error
 * @returns {Trouble}
 */
export function cameraTrouble(error) {
  const detail = `${error?.name ?? 'Error'}: ${error?.message ?? error}`;
  const codes = {
    NotAllowedError: 'denied',
    PermissionDeniedError: 'denied',
    SecurityError: 'denied',
    NotFoundError: 'no-camera',
    DevicesNotFoundError: 'no-camera',
    NotReadableError: 'busy',
    TrackStartError: 'busy',
    AbortError: 'busy',
  };
  return error instanceof Trouble ? error : new Trouble(codes[error?.name] ?? 'camera', detail);
}

/**
 * Trouble behind an error of the runtime or the worker.
 * @param {string} message
 * @returns {Trouble}
 */
export function runtimeTrouble(message) {
  if (/out of memory|could not allocate|allocation failed|Aborted\(OOM\)|bad_alloc/i.test(message)) {
    return new Trouble('memory', message);
  }
  if (/dynamically imported module|Importing a module script failed|fetching of the wasm|magic word|LinkError/i.test(message)) {
    return new Trouble('runtime-missing', message);
  }
  return new Trouble('unable', message);
}

/** A number of bytes for people. */
export function bytesInWords(bytes) {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}
